//! TLS whose certificates can be replaced while it is in use.
//!
//! Brokers and agents show each other certificates of one CA, and each checks the other's role by name. Between
//! them sessions are not resumed: a resumed session would skip the check of a certificate replaced since.
//!
//! A configuration made by [`Tls`] asks it for certificate and CA at each handshake, so a reload reaches
//! configurations that are in use, and copies of them.

mod live;
mod material;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, ServerConfig};

use crate::tasks::Tasks;
use live::{LiveIdentity, PeerCheck, ServerCheck};
use material::Material;

/// How often files are looked at. Polling, since mounted secrets are swapped by links that file events miss.
const POLL: Duration = Duration::from_secs(10);

/// Where a process finds its certificate, its key and the CA that it trusts, as PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// Own certificate, with intermediates.
    pub cert: PathBuf,
    /// Own key.
    pub key: PathBuf,
    /// CA of the other side; `None` for a server that asks nobody for a certificate.
    pub ca: Option<PathBuf>,
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
    #[error("the certificate {path} cannot be used with its key: {source}")]
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
    /// A CA is needed and none is named.
    #[error("the other side of {cert} cannot be checked: name its CA file in [tls]")]
    NoCa {
        /// The own certificate.
        cert: PathBuf,
    },
    /// The TLS library was built without what the configuration needs.
    #[error("TLS is not available: {0}")]
    Library(#[from] rustls::Error),
}

/// Whom a server speaks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clients {
    /// Anyone; no certificate is asked for.
    Anyone,
    /// Who shows a certificate of the CA that carries this name.
    Named(&'static str),
}

/// Makes aws-lc the process's TLS provider. First thing in `main` and in tests; a second call does nothing.
pub fn install_provider() {
    // An error means that it is installed already.
    let _installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

impl TlsFiles {
    /// The files that [`crate::certs::make`] made for `role` ("agent" or "broker").
    pub fn of_role(directory: &Path, role: &str) -> Self {
        let file = |name: String| directory.join(name);
        Self {
            cert: file(format!("{role}.pem")),
            key: file(format!("{role}.key")),
            ca: Some(file("ca.pem".to_owned())),
        }
    }

    /// Reads the files.
    ///
    /// # Errors
    /// [`TlsError`], naming the file.
    pub fn load(&self) -> Result<Arc<Tls>, TlsError> {
        let material = Material::load(self)?;
        Ok(Arc::new(Tls {
            files: self.clone(),
            current: Arc::new(ArcSwap::from_pointee(material)),
        }))
    }

    /// An agent's configuration, for brokers only, from the files as they are now.
    ///
    /// # Errors
    /// [`TlsError`], naming the file.
    pub fn server(&self) -> Result<Arc<ServerConfig>, TlsError> {
        self.load()?.server(Clients::Named(crate::certs::BROKER_NAME))
    }

    /// A broker's configuration towards agents, from the files as they are now.
    ///
    /// # Errors
    /// [`TlsError`], naming the file.
    pub fn client(&self) -> Result<Arc<ClientConfig>, TlsError> {
        self.load()?.client()
    }
}

/// A certificate with its key and CA, as they are in their files now.
#[derive(Debug)]
pub struct Tls {
    files: TlsFiles,
    current: Arc<ArcSwap<Material>>,
}

impl Tls {
    /// A server's configuration. It follows reloads, as copies of it do; ALPN is the caller's to set.
    ///
    /// # Errors
    /// [`TlsError::NoCa`] when clients must be checked and no CA is known.
    pub fn server(&self, clients: Clients) -> Result<Arc<ServerConfig>, TlsError> {
        let builder =
            ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
        let identity = Arc::new(LiveIdentity(Arc::clone(&self.current)));
        let config = match clients {
            Clients::Anyone => builder.with_no_client_auth().with_cert_resolver(identity),
            Clients::Named(name) => {
                self.check_ca()?;
                let check = PeerCheck::new(Arc::clone(&self.current), name);
                let mut config = builder
                    .with_client_cert_verifier(Arc::new(check))
                    .with_cert_resolver(identity);
                config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
                config.send_tls13_tickets = 0;
                config
            }
        };
        Ok(Arc::new(config))
    }

    /// The configuration of a client that shows its certificate. It follows reloads.
    ///
    /// # Errors
    /// [`TlsError::NoCa`].
    pub fn client(&self) -> Result<Arc<ClientConfig>, TlsError> {
        self.check_ca()?;
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(ServerCheck(Arc::clone(&self.current))))
            .with_client_cert_resolver(Arc::new(LiveIdentity(Arc::clone(&self.current))));
        config.resumption = rustls::client::Resumption::disabled();
        Ok(Arc::new(config))
    }

    /// Reads the files again. Answers true if they had changed; on an error what was read before stays in use.
    ///
    /// # Errors
    /// [`TlsError`], naming the file.
    pub fn reload(&self) -> Result<bool, TlsError> {
        let material = Material::load(&self.files)?;
        if material.digest == self.current.load().digest {
            return Ok(false);
        }
        self.current.store(Arc::new(material));
        Ok(true)
    }

    /// Reloads whenever the files change, until the tasks drain.
    pub fn keep_fresh(self: &Arc<Self>, tasks: &Tasks) {
        let (tls, draining) = (Arc::clone(self), tasks.shutdown().clone());
        tasks.spawn("certificate reload", async move {
            let mut ticks = tokio::time::interval(POLL);
            loop {
                tokio::select! {
                    _ = ticks.tick() => tls.reload_and_tell(),
                    () = draining.draining() => return,
                }
            }
        });
    }

    fn reload_and_tell(&self) {
        let outcome = match self.reload() {
            Ok(false) => return,
            Ok(true) => {
                tracing::info!(cert = %self.files.cert.display(), "certificate reloaded");
                "ok"
            }
            // While files are being replaced, certificate and key may not belong together for a moment.
            Err(error) => {
                tracing::warn!(%error, "a changed certificate cannot be used; the one before stays in use");
                "error"
            }
        };
        metrics::counter!("berth_certificate_reloads_total", "outcome" => outcome).increment(1);
    }

    fn check_ca(&self) -> Result<(), TlsError> {
        if self.current.load().peers.is_some() {
            return Ok(());
        }
        Err(TlsError::NoCa {
            cert: self.files.cert.clone(),
        })
    }
}

#[cfg(test)]
mod tests;
