//! The questions that rustls asks during a handshake, answered from what was read last.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

use super::material::Material;

/// The certificate to show.
#[derive(Debug)]
pub(super) struct LiveIdentity(pub(super) Arc<ArcSwap<Material>>);

impl ResolvesServerCert for LiveIdentity {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.load().identity))
    }
}

impl ResolvesClientCert for LiveIdentity {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.load().identity))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

fn algorithms() -> WebPkiSupportedAlgorithms {
    rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms
}

fn no_ca() -> Error {
    Error::General("no CA to check the other side's certificate with".to_owned())
}

macro_rules! signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls12_signature(message, cert, signature, &algorithms())
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls13_signature(message, cert, signature, &algorithms())
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            algorithms().supported_schemes()
        }
    };
}

/// Checks clients: a certificate of the CA, with the name of a role.
#[derive(Debug)]
pub(super) struct PeerCheck {
    material: Arc<ArcSwap<Material>>,
    name: &'static str,
}

impl PeerCheck {
    pub(super) fn new(material: Arc<ArcSwap<Material>>, name: &'static str) -> Self {
        Self { material, name }
    }
}

impl ClientCertVerifier for PeerCheck {
    /// None: the hints would be those of the CA at the start, and clients have one certificate to show anyway.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        cert: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let material = self.material.load();
        let peers = material.peers.as_ref().ok_or_else(no_ca)?;
        let verified = peers.clients.verify_client_cert(cert, intermediates, now)?;
        let name = ServerName::try_from(self.name).map_err(|error| Error::General(error.to_string()))?;
        verify_server_name(&ParsedCertificate::try_from(cert)?, &name)?;
        Ok(verified)
    }

    signatures!();
}

/// Checks servers: a certificate of the CA, with the name that was dialled.
#[derive(Debug)]
pub(super) struct ServerCheck(pub(super) Arc<ArcSwap<Material>>);

impl ServerCertVerifier for ServerCheck {
    fn verify_server_cert(
        &self,
        cert: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let material = self.0.load();
        let peers = material.peers.as_ref().ok_or_else(no_ca)?;
        peers
            .servers
            .verify_server_cert(cert, intermediates, name, ocsp, now)
    }

    signatures!();
}
