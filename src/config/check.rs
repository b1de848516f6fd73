//! The rules between settings.

use std::net::SocketAddr;

use berth_broker::dialects::hs2::discovery::Transport;
use clap::ValueEnum;

use super::Config;

/// Leases shorter than this end when a disk is slow.
const LEAST_LEASE_SECONDS: u64 = 3;

/// What a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// A whole Berth.
    Up,
    /// A broker.
    Broker,
    /// An agent.
    Agent,
}

/// What is wrong with the settings together, one line each.
pub(super) fn faults(config: &Config, role: Role) -> Vec<String> {
    let mut faults = Vec::new();
    let mut fault = |is_wrong: bool, text: &str| {
        if is_wrong {
            faults.push(text.to_owned());
        }
    };
    let cluster = role != Role::Up;
    fault(
        cluster && config.store.endpoints.is_empty(),
        "store.endpoints: name etcd's members, such as [\"http://127.0.0.1:2379\"]; 'berth up' needs none",
    );
    fault(
        !cluster && !config.store.endpoints.is_empty(),
        "store.endpoints: 'berth up' keeps its own store; run 'berth broker' and 'berth agent' against etcd",
    );
    let files = [&config.tls.cert, &config.tls.key, &config.tls.ca];
    fault(
        cluster && files.iter().any(|file| file.is_none()),
        "tls: cert, key and ca are needed between brokers and agents; 'berth certs DIRECTORY' makes some for a trial",
    );
    fault(
        config.listen.tls_cert.is_some() != config.listen.tls_key.is_some(),
        "listen: tls-cert and tls-key are needed together",
    );
    let leases = [
        ("broker.lease-seconds", config.broker.lease_seconds),
        ("agent.lease-seconds", config.agent.lease_seconds),
    ];
    for (name, seconds) in leases {
        let text = format!("{name}: {seconds} is less than {LEAST_LEASE_SECONDS}, the shortest lease");
        fault(seconds < LEAST_LEASE_SECONDS, &text);
    }
    let least_one = [
        ("max-calls", config.broker.max_calls as u64, 10_000),
        ("lineage-entries", config.broker.lineage_entries, 10_000),
        ("detached-seconds", config.broker.detached_seconds, 300),
    ];
    for (name, value, usual) in least_one {
        if value == 0 {
            faults.push(format!(
                "broker.{name}: 0 is not possible; give 1 or more, or leave it out for {usual}"
            ));
        }
    }
    if role != Role::Agent {
        faults.extend(exposed(config));
        faults.extend(unfindable(config));
    }
    faults
}

/// The two parts of `host:port`.
pub(crate) fn split_address(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port > 0)?;
    (!host.is_empty()).then_some((host, port))
}

/// What is listed in ZooKeeper must lead somewhere.
fn unfindable(config: &Config) -> Vec<String> {
    let zookeeper = &config.broker.hs2.zookeeper;
    if zookeeper.servers.is_empty() {
        return Vec::new();
    }
    let (name, listens) = match zookeeper.transport {
        Transport::Binary => ("hs2", config.listen.hs2),
        Transport::Http => ("hs2-http", config.listen.hs2_http),
    };
    let wrong = |text: &&String| split_address(text).is_none();
    let mut faults = Vec::new();
    if let Some(server) = zookeeper.servers.iter().find(wrong) {
        faults.push(format!(
            "broker.hs2.zookeeper.servers: '{server}' is not host:port"
        ));
    }
    if let Some(address) = zookeeper.address.as_ref().filter(wrong) {
        faults.push(format!(
            "broker.hs2.zookeeper.address: '{address}' is not host:port"
        ));
    }
    if zookeeper.address.is_none() && listens.ip().is_unspecified() {
        faults.push(format!(
            "broker.hs2.zookeeper.address: name where clients reach this broker, host:port; listen.{name} is {listens}"
        ));
    }
    if zookeeper.namespace.trim_matches('/').is_empty() {
        faults.push("broker.hs2.zookeeper.namespace: cannot be empty; leave it out for kyuubi".to_owned());
    }
    faults
}

/// A broker that others than this machine reach must know who they are, and must not be overheard.
fn exposed(config: &Config) -> Option<String> {
    let listen = &config.listen;
    let open = |(name, address): &(&'static str, SocketAddr)| {
        let is_open = !address.ip().is_loopback();
        is_open.then(|| format!("listen.{name} {address}"))
    };
    let doors = [
        ("connect", listen.connect),
        ("livy", listen.livy),
        ("kyuubi", listen.kyuubi),
        ("hs2", listen.hs2),
        ("hs2-http", listen.hs2_http),
        ("admin", listen.admin),
    ];
    let doors: Vec<String> = doors.iter().filter_map(open).collect();
    let missing = match (&config.auth.token_file, &listen.tls_cert) {
        (Some(_), Some(_)) => return None,
        (None, Some(_)) => "auth.token-file",
        (Some(_), None) => "listen.tls-cert and listen.tls-key",
        (None, None) => "auth.token-file, listen.tls-cert and listen.tls-key",
    };
    (!doors.is_empty() && !listen.insecure).then(|| {
        format!(
            "{}: not a loopback address; set {missing}, or listen.insecure = true where the network is trusted",
            doors.join(", ")
        )
    })
}
