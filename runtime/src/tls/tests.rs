//! Handshakes in memory.

use super::*;
use crate::certs::{self, AGENT_NAME, BROKER_NAME};
use rustls::pki_types::ServerName;
use tokio::io::AsyncReadExt;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Shakes hands; answers the certificate that the client saw.
async fn meet(server: &Tls, client: &Tls, name: &'static str) -> Result<Vec<u8>, String> {
    let (near, far) = tokio::io::duplex(1 << 16);
    let connector = TlsConnector::from(client.client().unwrap());
    let acceptor = TlsAcceptor::from(server.server(Clients::Named(BROKER_NAME)).unwrap());
    let connect = async {
        let mut stream = connector
            .connect(ServerName::try_from(name).unwrap(), near)
            .await?;
        let shown = stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
        // With TLS 1.3 the client hears of a refusal with its first read.
        stream.read_u8().await?;
        Ok::<_, std::io::Error>(shown)
    };
    let accept = async {
        let mut stream = acceptor.accept(far).await?;
        tokio::io::AsyncWriteExt::write_u8(&mut stream, 1).await?;
        tokio::io::AsyncWriteExt::flush(&mut stream).await
    };
    let (connected, accepted) = tokio::join!(connect, accept);
    accepted.map_err(|error| error.to_string())?;
    connected.map_err(|error| error.to_string())
}

fn load(directory: &Path, role: &str) -> Arc<Tls> {
    TlsFiles::of_role(directory, role).load().unwrap()
}

#[tokio::test]
async fn i7_only_the_right_role_of_the_same_ca_is_spoken_to() {
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    certs::make(ours.path(), &["127.0.0.1".to_owned()]).unwrap();
    certs::make(theirs.path(), &[]).unwrap();
    let (agent, broker) = (load(ours.path(), "agent"), load(ours.path(), "broker"));
    let foreign = TlsFiles {
        ca: Some(ours.path().join("ca.pem")),
        ..TlsFiles::of_role(theirs.path(), "broker")
    };
    let cases = [
        ("a broker and an agent", &agent, &broker, AGENT_NAME, true),
        ("a broker is not an agent", &broker, &broker, AGENT_NAME, false),
        ("an agent is not a broker", &agent, &agent, AGENT_NAME, false),
        (
            "another CA's broker",
            &agent,
            &foreign.load().unwrap(),
            AGENT_NAME,
            false,
        ),
    ];
    for (case, server, client, name, expected) in cases {
        let met = meet(server, client, name).await;
        assert_eq!(met.is_ok(), expected, "{case}: {met:?}");
    }
}

#[tokio::test]
async fn a_replaced_certificate_is_shown_by_configurations_in_use() {
    let directory = tempfile::tempdir().unwrap();
    certs::make(directory.path(), &[]).unwrap();
    let (agent, broker) = (load(directory.path(), "agent"), load(directory.path(), "broker"));
    let before = meet(&agent, &broker, AGENT_NAME).await.unwrap();
    assert!(!agent.reload().unwrap(), "nothing has changed");

    certs::make(directory.path(), &[]).unwrap();
    assert!(agent.reload().unwrap());
    let after = meet(&agent, &broker, AGENT_NAME).await.unwrap();
    assert_ne!(before, after);

    std::fs::write(directory.path().join("agent.pem"), "half a fi").unwrap();
    assert!(agent.reload().is_err());
    assert_eq!(meet(&agent, &broker, AGENT_NAME).await, Ok(after));
}

#[test]
fn a_missing_file_is_named_with_what_to_do() {
    let error = TlsFiles::of_role(Path::new("/nonexistent"), "agent")
        .load()
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("/nonexistent/agent.key") && error.contains("berth certs"),
        "{error}"
    );
}

#[test]
fn clients_are_not_checked_without_a_ca() {
    let directory = tempfile::tempdir().unwrap();
    certs::make(directory.path(), &[]).unwrap();
    let files = TlsFiles {
        ca: None,
        ..TlsFiles::of_role(directory.path(), "broker")
    };
    let tls = files.load().unwrap();
    assert!(tls.server(Clients::Anyone).is_ok());
    assert!(matches!(
        tls.server(Clients::Named(BROKER_NAME)),
        Err(TlsError::NoCa { .. })
    ));
    assert!(matches!(tls.client(), Err(TlsError::NoCa { .. })));
}
