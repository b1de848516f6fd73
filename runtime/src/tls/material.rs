//! What the files held when they were last read.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::CertifiedKey;

use super::{TlsError, TlsFiles, provider};

/// An identity and whom it trusts.
#[derive(Debug)]
pub(super) struct Material {
    pub(super) identity: Arc<CertifiedKey>,
    pub(super) peers: Option<Peers>,
    /// Tells whether files changed, without keeping a key's text.
    pub(super) digest: u64,
}

/// Checks of certificates against the CA.
#[derive(Debug)]
pub(super) struct Peers {
    pub(super) clients: Arc<dyn ClientCertVerifier>,
    pub(super) servers: Arc<dyn ServerCertVerifier>,
}

impl Material {
    pub(super) fn load(files: &TlsFiles) -> Result<Self, TlsError> {
        let key = read(&files.key)?;
        let cert = read(&files.cert)?;
        let ca = files.ca.as_deref().map(read).transpose()?;
        let mut digest = DefaultHasher::new();
        (&cert, &key, &ca).hash(&mut digest);
        let identity = identity(files, &cert, &key)?;
        let peers = match (&files.ca, &ca) {
            (Some(path), Some(text)) => Some(peers(path, text)?),
            (None, _) | (_, None) => None,
        };
        tell_expiry(&identity);
        Ok(Self {
            identity: Arc::new(identity),
            peers,
            digest: digest.finish(),
        })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Pem {
        path: path.to_owned(),
        source: rustls::pki_types::pem::Error::Io(source),
    })
}

fn identity(files: &TlsFiles, cert: &[u8], key: &[u8]) -> Result<CertifiedKey, TlsError> {
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|source| TlsError::Pem {
        path: files.key.clone(),
        source,
    })?;
    let chain = certificates(&files.cert, cert)?;
    CertifiedKey::from_der(chain, key, &provider()).map_err(|source| TlsError::Identity {
        path: files.cert.clone(),
        source,
    })
}

fn peers(path: &Path, text: &[u8]) -> Result<Peers, TlsError> {
    let refused = |reason: String| TlsError::Ca {
        path: path.to_owned(),
        reason,
    };
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(certificates(path, text)?);
    if added == 0 {
        return Err(refused("it holds no certificate".to_owned()));
    }
    let roots = Arc::new(roots);
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), provider()).build();
    let servers = WebPkiServerVerifier::builder_with_provider(roots, provider()).build();
    Ok(Peers {
        clients: clients.map_err(|error| refused(error.to_string()))?,
        servers: servers.map_err(|error| refused(error.to_string()))?,
    })
}

fn certificates(path: &Path, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read: Result<_, _> = CertificateDer::pem_slice_iter(text).collect();
    read.map_err(|source| TlsError::Pem {
        path: path.to_owned(),
        source,
    })
}

/// Alarms are made from this figure, weeks before a certificate ends.
fn tell_expiry(identity: &CertifiedKey) {
    let leaf = identity.cert.first();
    let parsed = leaf.and_then(|leaf| x509_parser::parse_x509_certificate(leaf).ok());
    if let Some((_, certificate)) = parsed {
        let at = certificate.validity().not_after.timestamp();
        let name = certificate.subject().to_string();
        metrics::gauge!("berth_certificate_expiry_unix_seconds", "name" => name).set(seconds(at));
    }
}

#[allow(
    clippy::cast_precision_loss,
    reason = "seconds since 1970 are exact in an f64 for millions of years"
)]
fn seconds(at: i64) -> f64 {
    at as f64
}
