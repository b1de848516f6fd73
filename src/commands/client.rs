//! The connection to a broker.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, anyhow};
use berth_proto::v1::berth_client::BerthClient;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Request, Status};
use tower::service_fn;

use crate::cli::ClientArgs;

/// A client of the native API that shows its token.
pub(super) type Client = BerthClient<InterceptedService<Channel, Token>>;

/// The token, as a header.
#[derive(Debug, Clone)]
pub(super) struct Token(Option<MetadataValue<Ascii>>);

impl Interceptor for Token {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("authorization", token.clone());
        }
        Ok(request)
    }
}

/// Connects.
pub(super) async fn client(args: &ClientArgs) -> anyhow::Result<Client> {
    let uri: Uri = args.broker.parse().with_context(|| {
        format!(
            "--broker {} is not an address such as http://127.0.0.1:15002",
            args.broker
        )
    })?;
    let token = args.token.as_ref().map(|token| format!("Bearer {token}").parse());
    let token = Token(
        token
            .transpose()
            .context("the token has characters that no token has")?,
    );
    let connected = match uri.scheme_str() {
        Some("https") => secured(uri, args.ca.as_deref()).await?,
        _ => Endpoint::from(uri).connect().await,
    };
    let channel = connected.with_context(|| {
        format!(
            "no broker answers at {}; start one with 'berth up' or name another with --broker",
            args.broker
        )
    })?;
    Ok(BerthClient::with_interceptor(channel, token))
}

async fn secured(uri: Uri, ca: Option<&Path>) -> anyhow::Result<Result<Channel, tonic::transport::Error>> {
    let ca = ca.ok_or_else(|| anyhow!("name the CA of {uri} with --ca"))?;
    let tls = Arc::new(tls(ca)?);
    let host = uri
        .host()
        .ok_or_else(|| anyhow!("--broker {uri} names no host"))?;
    let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())?;
    let address = format!("{host}:{}", uri.port_u16().unwrap_or(443));
    // The library would refuse an https address: it was built without TLS of its own.
    let plain = format!("http://{address}");
    let dial = service_fn(move |_: Uri| {
        let (tls, name, address) = (
            TlsConnector::from(Arc::clone(&tls)),
            name.clone(),
            address.clone(),
        );
        async move {
            let stream = TcpStream::connect(address).await?;
            tls.connect(name, stream).await.map(TokioIo::new)
        }
    });
    Ok(Endpoint::from_shared(plain)?.connect_with_connector(dial).await)
}

fn tls(ca: &Path) -> anyhow::Result<ClientConfig> {
    let unreadable = || format!("the CA {} cannot be read as PEM", ca.display());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca).with_context(unreadable)? {
        roots.add(certificate.with_context(unreadable)?)?;
    }
    let mut tls = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"h2".to_vec()];
    Ok(tls)
}
