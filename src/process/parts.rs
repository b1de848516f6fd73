//! The parts of a process, each from its section of the configuration.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use berth_agent::Agent;
use berth_broker::app::Broker;
use berth_broker::dialects::hs2::discovery::{self, Offer, Transport};
use berth_runtime::certs;
use berth_runtime::tasks::{Shutdown, Tasks};
use berth_runtime::tls::{Clients, Tls, TlsFiles};
use berth_store::blobs::{Blobs, S3Config};
use berth_store::embedded::Embedded;
use berth_store::etcd::{ConnectError, Etcd};
use berth_store::{StoreRef, Traced};
use tokio::net::TcpListener;

use super::doors::Addresses;
use crate::config::{BlobsConfig, Config, Role, split_address, text_variables};

/// How long to wait before etcd is asked again that did not answer.
const STORE_PAUSE: Duration = Duration::from_secs(1);

/// Makes the data directory of a whole Berth, with its certificates.
pub(super) fn prepare(mut config: Config, role: Role) -> anyhow::Result<Config> {
    if role != Role::Up {
        return Ok(config);
    }
    let data = config.data_dir.clone();
    let unusable = || {
        format!(
            "the data directory {} cannot be used; choose one that this user can write to with --data-dir",
            data.display()
        )
    };
    let certificates = data.join("certs");
    std::fs::create_dir_all(&certificates).with_context(unusable)?;
    if !certificates.join("ca.pem").exists() {
        certs::make(&certificates, &["127.0.0.1".to_owned(), "localhost".to_owned()])?;
    }
    let absolute = data.canonicalize().with_context(unusable)?;
    let moved = |path: &Path| {
        path.strip_prefix(&data)
            .map_or(path.to_owned(), |rest| absolute.join(rest))
    };
    config.agent.state_dir = moved(&config.agent.state_dir);
    config.blobs.directory = moved(&config.blobs.directory);
    config.data_dir = absolute;
    Ok(config)
}

/// The store; waits for an etcd that is away.
pub(super) async fn open_store(config: &Config, role: Role) -> anyhow::Result<StoreRef> {
    if role == Role::Up {
        return Ok(Traced::over(Embedded::open(&config.data_dir.join("store"))?));
    }
    let mut waits = false;
    loop {
        match Etcd::connect(config.store.etcd()).await {
            Ok(etcd) => return Ok(Traced::over(etcd)),
            Err(ConnectError::Store { endpoints, source }) if source.is_transient() => {
                if !waits {
                    tracing::warn!(endpoints, error = %source, "etcd does not answer; waiting for it");
                }
                waits = true;
                tokio::time::sleep(STORE_PAUSE).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn peer_files(config: &Config) -> anyhow::Result<TlsFiles> {
    let missing = || anyhow!("tls: cert and key are needed between brokers and agents");
    Ok(TlsFiles {
        cert: config.tls.cert.clone().ok_or_else(missing)?,
        key: config.tls.key.clone().ok_or_else(missing)?,
        ca: config.tls.ca.clone(),
    })
}

/// The certificate that this process shows to the other side.
pub(super) fn peer_tls(config: &Config) -> anyhow::Result<Arc<Tls>> {
    Ok(peer_files(config)?.load()?)
}

/// The agent's certificate: in a whole Berth it is another one than the broker's.
pub(super) fn agent_tls(config: &Config, role: Role) -> anyhow::Result<Arc<Tls>> {
    match role {
        Role::Up => Ok(TlsFiles::of_role(&config.data_dir.join("certs"), "agent").load()?),
        Role::Broker | Role::Agent => peer_tls(config),
    }
}

pub(super) async fn start_agent(
    config: &Config,
    store: &StoreRef,
    listener: TcpListener,
    tls: &Arc<Tls>,
    shutdown: &Shutdown,
) -> anyhow::Result<Agent> {
    let server = tls.server(Clients::Named(certs::BROKER_NAME))?;
    let (config, store) = (config.agent.clone(), Arc::clone(store));
    Ok(Agent::start(config, store, listener, server, shutdown.child()).await?)
}

pub(super) async fn start_broker(
    config: &Config,
    addresses: &Addresses,
    store: StoreRef,
    tls: &Arc<Tls>,
    shutdown: &Shutdown,
) -> anyhow::Result<Broker> {
    let blobs = open_blobs(&config.blobs).await?;
    let (client, admin) = (tls.client()?, addresses.admin.to_string());
    let kyuubi = kyuubi_url(config, addresses);
    let broker = Broker::start(
        config.broker.clone(),
        (admin, kyuubi),
        store,
        blobs,
        &client,
        shutdown.child(),
    );
    Ok(broker.await?)
}

/// Where other brokers reach this one's Kyuubi REST API, as far as that is known.
fn kyuubi_url(config: &Config, addresses: &Addresses) -> Option<String> {
    let scheme = if config.listen.tls_cert.is_some() {
        "https"
    } else {
        "http"
    };
    let bound = addresses.kyuubi.filter(|address| !address.ip().is_unspecified());
    let named = config.broker.kyuubi.peer_address.clone();
    let address = named.or_else(|| bound.map(|address| address.to_string()));
    address.map(|address| format!("{scheme}://{address}"))
}

/// Lists the broker where JDBC clients look for one, if that is wanted.
pub(super) fn publish(config: &Config, addresses: &Addresses, tasks: &Tasks) -> anyhow::Result<()> {
    let zookeeper = &config.broker.hs2.zookeeper;
    let bound = match zookeeper.transport {
        Transport::Binary => addresses.hs2,
        Transport::Http => addresses.hs2_http,
    };
    let bound = bound.map(|address| address.to_string());
    let address = zookeeper
        .address
        .clone()
        .or(bound)
        .filter(|_| !zookeeper.servers.is_empty());
    let Some((host, port)) = address.as_deref().and_then(split_address) else {
        return Ok(());
    };
    let offer = Offer {
        host: host.to_owned(),
        port,
        transport: zookeeper.transport,
        is_secure: config.listen.tls_cert.is_some(),
    };
    let unread = || "broker.hs2.zookeeper.auth-file: cannot be read; it has one line, user:password";
    discovery::publish(offer, zookeeper.clone(), tasks).with_context(unread)
}

async fn open_blobs(config: &BlobsConfig) -> anyhow::Result<Blobs> {
    let blobs = match &config.s3 {
        None => Blobs::directory(&config.directory)?,
        Some(bucket) => Blobs::s3(
            S3Config {
                bucket: bucket.bucket.clone(),
                prefix: bucket.prefix.clone(),
                region: bucket.region.clone(),
                endpoint: bucket.endpoint.clone(),
            },
            text_variables(),
        )?,
    };
    // Its cause is a page of XML; the error itself says what to do.
    blobs.check().await.map_err(|error| anyhow!("{error}"))?;
    Ok(blobs)
}
