//! Mutual TLS between brokers and agents.
//!
//! Both sides show a certificate of the same CA and check the other's role by name. Sessions are not resumed: a
//! resumed session would skip the check of a certificate that has been replaced since.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// Where a process finds its certificate, its key and the CA that it trusts, as PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// Own certificate, with intermediates.
    pub cert: PathBuf,
    /// Own key.
    pub key: PathBuf,
    /// CA of the other side.
    pub ca: PathBuf,
}

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read as PEM.
    #[error(
        "{path} is not a readable PEM file: {source}; make one with 'berth certs' or name another in [tls]"
    )]
    Pem {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// Certificate and key do not make a usable identity.
    #[error("the certificate {path} cannot be used")]
    Identity {
        /// The certificate file.
        path: PathBuf,
        /// What rustls said.
        #[source]
        source: rustls::Error,
    },
    /// The CA file has no usable certificate.
    #[error("the CA file {path} cannot be used: {reason}")]
    Ca {
        /// The file.
        path: PathBuf,
        /// What rustls said.
        reason: String,
    },
}

/// Makes aws-lc the process's TLS provider. First thing in `main` and in tests; a second call does nothing.
pub fn install_provider() {
    // An error means that it is installed already.
    let _installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

impl TlsFiles {
    /// The files that [`crate::certs::make`] made for `role` ("agent" or "broker").
    pub fn of_role(directory: &Path, role: &str) -> Self {
        let file = |name: String| directory.join(name);
        Self {
            cert: file(format!("{role}.pem")),
            key: file(format!("{role}.key")),
            ca: file("ca.pem".to_owned()),
        }
    }

    /// A server that demands a certificate of its clients.
    ///
    /// # Errors
    /// [`TlsError`], naming the file.
    pub fn server(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let ca = |reason: String| TlsError::Ca {
            path: self.ca.clone(),
            reason,
        };
        let clients = WebPkiClientVerifier::builder(Arc::new(self.roots()?)).build();
        let clients = clients.map_err(|error| ca(error.to_string()))?;
        let (chain, key) = self.identity()?;
        let config = ServerConfig::builder()
            .with_client_cert_verifier(clients)
            .with_single_cert(chain, key);
        let mut config = config.map_err(|source| TlsError::Identity {
            path: self.cert.clone(),
            source,
        })?;
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }

    /// A client that shows its certificate.
    ///
    /// # Errors
    /// [`TlsError`], naming the file.
    pub fn client(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let (chain, key) = self.identity()?;
        let config = ClientConfig::builder()
            .with_root_certificates(self.roots()?)
            .with_client_auth_cert(chain, key);
        let mut config = config.map_err(|source| TlsError::Identity {
            path: self.cert.clone(),
            source,
        })?;
        config.resumption = rustls::client::Resumption::disabled();
        Ok(Arc::new(config))
    }

    fn roots(&self) -> Result<RootCertStore, TlsError> {
        let mut roots = RootCertStore::empty();
        let (added, _) = roots.add_parsable_certificates(certificates(&self.ca)?);
        if added == 0 {
            return Err(TlsError::Ca {
                path: self.ca.clone(),
                reason: "it holds no certificate".to_owned(),
            });
        }
        Ok(roots)
    }

    fn identity(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
        let key = PrivateKeyDer::from_pem_file(&self.key);
        let key = key.map_err(|source| TlsError::Pem {
            path: self.key.clone(),
            source,
        })?;
        Ok((certificates(&self.cert)?, key))
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = |source| TlsError::Pem {
        path: path.to_owned(),
        source,
    };
    CertificateDer::pem_file_iter(path)
        .map_err(pem)?
        .collect::<Result<_, _>>()
        .map_err(pem)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certs;
    use rustls::pki_types::ServerName;
    use tokio_rustls::{TlsAcceptor, TlsConnector};

    async fn meet(server: &TlsFiles, client: &TlsFiles, name: &'static str) -> Result<(), String> {
        install_provider();
        let (near, far) = tokio::io::duplex(1 << 16);
        let connector = TlsConnector::from(client.client().unwrap());
        let acceptor = TlsAcceptor::from(server.server().unwrap());
        let (connected, accepted) = tokio::join!(
            connector.connect(ServerName::try_from(name).unwrap(), near),
            acceptor.accept(far)
        );
        connected.map_err(|error| error.to_string())?;
        accepted.map(drop).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn i7_only_the_right_role_of_the_same_ca_is_spoken_to() {
        let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        certs::make(ours.path(), &["127.0.0.1".to_owned()]).unwrap();
        certs::make(theirs.path(), &[]).unwrap();
        let agent = TlsFiles::of_role(ours.path(), "agent");
        let broker = TlsFiles::of_role(ours.path(), "broker");
        assert_eq!(meet(&agent, &broker, certs::AGENT_NAME).await, Ok(()));
        assert!(
            meet(&broker, &broker, certs::AGENT_NAME).await.is_err(),
            "a broker is not an agent"
        );
        let foreign = TlsFiles {
            ca: agent.ca.clone(),
            ..TlsFiles::of_role(theirs.path(), "broker")
        };
        assert!(
            meet(&agent, &foreign, certs::AGENT_NAME).await.is_err(),
            "another CA's broker is refused"
        );
    }

    #[test]
    fn a_missing_file_is_named_with_what_to_do() {
        let files = TlsFiles::of_role(Path::new("/nonexistent"), "agent");
        let error = files.client().unwrap_err().to_string();
        assert!(
            error.contains("/nonexistent/agent.key") && error.contains("berth certs"),
            "{error}"
        );
    }
}
