//! Finding brokers through ZooKeeper, as the JDBC drivers of Hive and Kyuubi can.
//!
//! Each broker has an ephemeral node below the namespace that the drivers' URLs name. A driver picks one at random,
//! and another one if it does not answer. Drivers know no other kind of discovery; Berth itself needs no ZooKeeper.
//!
//! Source of names and values: `ZooKeeperHiveClientHelper` of Hive's JDBC driver, as it reads them.

use std::path::PathBuf;
use std::time::Duration;

use berth_runtime::tasks::{Shutdown, Tasks};
use serde::{Deserialize, Serialize};
use zookeeper_client::{Acl, Acls, AuthId, Client, CreateMode, Error, Permission, SessionState};

/// After which ZooKeeper forgets a broker that is silent.
const SESSION: Duration = Duration::from_secs(10);
/// How long to wait before ZooKeeper is asked again.
const PAUSE: Duration = Duration::from_secs(2);
/// How long the last word to ZooKeeper may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// How clients find the broker through ZooKeeper.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct ZookeeperConfig {
    /// The servers, each `host:port`; none to be found by other means.
    pub servers: Vec<String>,
    /// Where brokers are listed: `zooKeeperNamespace` in the URLs of clients.
    pub namespace: String,
    /// Where clients reach this broker, `host:port`; without it, the address that it listens on.
    pub address: Option<String>,
    /// How clients speak there.
    pub transport: Transport,
    /// A file with `user:password`, with which the broker is known to ZooKeeper (scheme `digest`).
    pub auth_file: Option<PathBuf>,
}

impl Default for ZookeeperConfig {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            namespace: "kyuubi".to_owned(),
            address: None,
            transport: Transport::Binary,
            auth_file: None,
        }
    }
}

/// How HiveServer2's protocol is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    /// Over a connection of its own: `listen.hs2`.
    Binary,
    /// Over HTTP: `listen.hs2-http`.
    Http,
}

/// What a broker says of itself to those who look for one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// A name or an address.
    pub host: String,
    /// The port.
    pub port: u16,
    /// How to speak there.
    pub transport: Transport,
    /// Whether over TLS.
    pub is_secure: bool,
}

impl Offer {
    /// The beginning of its node's name, which ends with a number that ZooKeeper gives.
    fn name(&self) -> String {
        let (host, port, version) = (&self.host, self.port, env!("CARGO_PKG_VERSION"));
        format!("serverUri={host}:{port};version={version};sequence=")
    }

    /// Its node's content: settings of HiveServer2, as far as drivers heed them.
    fn settings(&self) -> String {
        let (host, port, is_secure) = (&self.host, self.port, self.is_secure);
        let transport = match self.transport {
            Transport::Binary => format!("binary;hive.server2.thrift.port={port}"),
            Transport::Http => {
                format!("http;hive.server2.thrift.http.port={port};hive.server2.thrift.http.path=cliservice")
            }
        };
        format!(
            "hive.server2.thrift.bind.host={host};hive.server2.transport.mode={transport};\
             hive.server2.use.SSL={is_secure};hive.server2.authentication=NONE"
        )
    }
}

/// Lists a broker until it drains, and again whenever ZooKeeper has forgotten it. The task ends when it is unlisted.
///
/// # Errors
/// `auth-file` cannot be read.
pub fn publish(offer: Offer, config: ZookeeperConfig, tasks: &Tasks) -> std::io::Result<()> {
    let login = config
        .auth_file
        .as_deref()
        .map(std::fs::read_to_string)
        .transpose()?;
    let listing = Listing {
        offer,
        config,
        login: login.map(|login| login.trim().to_owned()),
    };
    let shutdown = tasks.shutdown().clone();
    tasks.spawn("zookeeper", async move { listing.keep(&shutdown).await });
    Ok(())
}

struct Listing {
    offer: Offer,
    config: ZookeeperConfig,
    login: Option<String>,
}

impl Listing {
    async fn keep(&self, shutdown: &Shutdown) {
        let servers = self.config.servers.join(",");
        let mut is_known = false;
        loop {
            let listed = tokio::select! {
                listed = self.list(&servers) => listed,
                () = shutdown.draining() => return,
            };
            let ended = match listed {
                Ok((client, node)) => {
                    is_known = false;
                    hold(client, &node, shutdown).await
                }
                Err(error) => Err(error),
            };
            metrics::gauge!("berth_zookeeper_listed").set(0);
            let Err(error) = ended else { return };
            if !is_known {
                tracing::warn!(servers, %error, "not listed in ZooKeeper: new JDBC clients do not find this broker; trying on");
            }
            is_known = true;
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                () = shutdown.draining() => return,
            }
        }
    }

    /// Makes the broker's node; its life is that of the client.
    async fn list(&self, servers: &str) -> Result<(Client, String), Error> {
        let mut connector = Client::connector().with_session_timeout(SESSION);
        if let Some(login) = &self.login {
            connector = connector.with_auth("digest", login.as_bytes());
        }
        let client = connector.connect(servers).await?;
        let own = [
            Acl::new(Permission::READ, AuthId::anyone()),
            Acl::new(Permission::ALL, AuthId::authed()),
        ];
        let acls = if self.login.is_some() {
            Acls::new(&own)
        } else {
            Acls::anyone_all()
        };
        let directory = format!("/{}", self.config.namespace.trim_matches('/'));
        client
            .mkdir(&directory, &CreateMode::Persistent.with_acls(acls))
            .await?;
        let node = format!("{directory}/{}", self.offer.name());
        let settings = self.offer.settings();
        let ephemeral = CreateMode::EphemeralSequential.with_acls(acls);
        let (_, sequence) = client.create(&node, settings.as_bytes(), &ephemeral).await?;
        Ok((client, format!("{node}{sequence}")))
    }
}

/// Waits until the broker drains, and takes it off the list then.
///
/// # Errors
/// ZooKeeper has ended the session, and the node with it.
async fn hold(client: Client, node: &str, shutdown: &Shutdown) -> Result<(), Error> {
    tracing::info!(node, "listed in ZooKeeper");
    metrics::gauge!("berth_zookeeper_listed").set(1);
    let mut states = client.state_watcher();
    loop {
        let state = tokio::select! {
            () = shutdown.draining() => break,
            state = states.changed() => state,
        };
        match state {
            SessionState::Expired => return Err(Error::SessionExpired),
            SessionState::AuthFailed => return Err(Error::AuthFailed),
            SessionState::Closed => return Err(Error::ClientClosed),
            // The session goes on at another server, or is forgotten.
            _ => {}
        }
    }
    let unlisted = tokio::time::timeout(FAREWELL, client.delete(node, None)).await;
    if !matches!(unlisted, Ok(Ok(()))) {
        tracing::warn!(node, "still listed in ZooKeeper, for {SESSION:?} at most");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(transport: Transport, port: u16, is_secure: bool) -> Offer {
        Offer {
            host: "b1.example".to_owned(),
            port,
            transport,
            is_secure,
        }
    }

    /// Looks for settings, which it splits as the drivers do.
    fn says(offer: &Offer, expected: &[(&str, &str)]) {
        let settings = offer.settings();
        let found: Vec<_> = settings
            .split(';')
            .map(|pair| pair.split_once('=').unwrap())
            .collect();
        for pair in expected {
            assert!(found.contains(pair), "{pair:?} in {found:?}");
        }
    }

    /// hs2#60
    #[test]
    fn a_broker_is_listed_as_drivers_read_it() {
        let binary = offer(Transport::Binary, 10009, false);
        let name = binary.name();
        assert!(name.starts_with("serverUri=b1.example:10009;version="), "{name}");
        assert!(name.ends_with(";sequence="), "{name}");
        says(
            &binary,
            &[
                ("hive.server2.thrift.bind.host", "b1.example"),
                ("hive.server2.transport.mode", "binary"),
                ("hive.server2.thrift.port", "10009"),
                ("hive.server2.use.SSL", "false"),
            ],
        );
        says(
            &offer(Transport::Http, 10010, true),
            &[
                ("hive.server2.transport.mode", "http"),
                ("hive.server2.thrift.http.port", "10010"),
                ("hive.server2.thrift.http.path", "cliservice"),
                ("hive.server2.use.SSL", "true"),
            ],
        );
    }
}
