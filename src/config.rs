//! The configuration: one TOML file, environment variables over it, flags over both.
//!
//! [`layers`] puts them together and remembers where each value came from, [`read`] makes a [`Config`] of them and
//! names everything that is wrong at once, [`check`] holds the rules between settings.

mod check;
mod layers;
mod read;
mod show;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use berth_agent::{AgentConfig, ProfileConfig};
use berth_broker::config::BrokerConfig;
use berth_runtime::telemetry::TelemetryConfig;
use berth_runtime::tls::TlsFiles;
use berth_store::etcd::EtcdConfig;
use serde::{Deserialize, Serialize};

pub(crate) use check::{Role, split_address};
pub(crate) use layers::{Key, Layers, assignment, text_variables};
pub(crate) use show::{as_json, as_toml};

/// Everything that can be set. `berth config` prints it with its values.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Config {
    /// What has no place of its own is below this directory.
    pub(crate) data_dir: PathBuf,
    /// Listeners for clients and operators.
    pub(crate) listen: Listen,
    /// Who is let in.
    pub(crate) auth: Auth,
    /// Certificates between brokers and agents.
    pub(crate) tls: PeerTls,
    /// etcd.
    pub(crate) store: StoreConfig,
    /// Where large payloads are kept. All brokers need the same place.
    pub(crate) blobs: BlobsConfig,
    /// The broker.
    pub(crate) broker: BrokerConfig,
    /// The agent.
    pub(crate) agent: AgentConfig,
    /// Logs and traces.
    pub(crate) telemetry: TelemetryConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("berth-data"),
            listen: Listen::default(),
            auth: Auth::default(),
            tls: PeerTls::default(),
            store: StoreConfig::default(),
            blobs: BlobsConfig::default(),
            broker: BrokerConfig::default(),
            agent: AgentConfig::default(),
            telemetry: TelemetryConfig::default(),
        }
    }
}

/// Where to listen. Port 0 takes a free one.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Listen {
    /// Spark Connect and the native gRPC API.
    pub(crate) connect: SocketAddr,
    /// Livy's REST API.
    pub(crate) livy: SocketAddr,
    /// Kyuubi's REST API.
    pub(crate) kyuubi: SocketAddr,
    /// HiveServer2's Thrift protocol, with SASL or without; what begins as HTTP is served as such.
    pub(crate) hs2: SocketAddr,
    /// HiveServer2's Thrift protocol over HTTP, at `/cliservice`.
    pub(crate) hs2_http: SocketAddr,
    /// Metrics and health; nothing secret, and no authentication.
    pub(crate) admin: SocketAddr,
    /// The agent, for brokers only: always mutual TLS.
    pub(crate) agent: SocketAddr,
    /// Certificate shown to clients, PEM. Needs `tls-key`. Without it clients speak plain text.
    pub(crate) tls_cert: Option<PathBuf>,
    /// Key of `tls-cert`.
    pub(crate) tls_key: Option<PathBuf>,
    /// True to listen on other addresses than loopback without authentication or without TLS.
    pub(crate) insecure: bool,
}

impl Default for Listen {
    fn default() -> Self {
        let loopback = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Self {
            connect: loopback(15002),
            livy: loopback(8998),
            kyuubi: loopback(10099),
            hs2: loopback(10009),
            hs2_http: loopback(10010),
            admin: loopback(8900),
            agent: loopback(7450),
            tls_cert: None,
            tls_key: None,
            insecure: false,
        }
    }
}

impl Listen {
    /// The files of the certificate for clients, if there is one.
    pub(crate) fn tls_files(&self) -> Option<TlsFiles> {
        Some(TlsFiles {
            cert: self.tls_cert.clone()?,
            key: self.tls_key.clone()?,
            ca: None,
        })
    }
}

/// Who is let in.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Auth {
    /// File with lines of `token user tenant`. Without it callers are believed.
    pub(crate) token_file: Option<PathBuf>,
}

/// Certificates between brokers and agents, PEM; `berth certs` makes some for a trial.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct PeerTls {
    /// Own certificate, with the name `broker.berth` or `agent.berth`.
    pub(crate) cert: Option<PathBuf>,
    /// Its key.
    pub(crate) key: Option<PathBuf>,
    /// The CA of all of them.
    pub(crate) ca: Option<PathBuf>,
}

/// Where etcd is. `berth up` needs none.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct StoreConfig {
    /// Client URLs of etcd's members.
    pub(crate) endpoints: Vec<String>,
    /// What all keys begin with.
    pub(crate) prefix: String,
    /// User, where etcd asks for one. Needs `password-file`.
    pub(crate) user: Option<String>,
    /// File with the password.
    pub(crate) password_file: Option<PathBuf>,
    /// CA of etcd's members, PEM.
    pub(crate) ca: Option<PathBuf>,
    /// Certificate shown to etcd, PEM. Needs `key`.
    pub(crate) cert: Option<PathBuf>,
    /// Its key.
    pub(crate) key: Option<PathBuf>,
    /// Milliseconds that one try may take.
    pub(crate) request_timeout_ms: u64,
}

impl Default for StoreConfig {
    fn default() -> Self {
        let etcd = EtcdConfig::new(Vec::new());
        Self {
            endpoints: etcd.endpoints,
            prefix: etcd.prefix,
            user: None,
            password_file: None,
            ca: None,
            cert: None,
            key: None,
            request_timeout_ms: u64::try_from(etcd.request_timeout.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

impl StoreConfig {
    /// The settings as the store takes them.
    pub(crate) fn etcd(&self) -> EtcdConfig {
        EtcdConfig {
            endpoints: self.endpoints.clone(),
            prefix: self.prefix.clone(),
            user: self.user.clone(),
            password_file: self.password_file.clone(),
            ca: self.ca.clone(),
            cert: self.cert.clone(),
            key: self.key.clone(),
            request_timeout: Duration::from_millis(self.request_timeout_ms),
        }
    }
}

/// Where large payloads are kept.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct BlobsConfig {
    /// A directory that all brokers share; `blobs` below the data directory if absent.
    pub(crate) directory: PathBuf,
    /// An S3 bucket instead.
    pub(crate) s3: Option<S3Bucket>,
}

/// A bucket. Credentials come from the environment, as for every S3 client.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct S3Bucket {
    /// Its name.
    pub(crate) bucket: String,
    /// What all object names begin with.
    #[serde(default)]
    pub(crate) prefix: String,
    /// Its region; `AWS_REGION` if absent.
    #[serde(default)]
    pub(crate) region: Option<String>,
    /// The server, for others than AWS.
    #[serde(default)]
    pub(crate) endpoint: Option<String>,
}

impl Config {
    /// Reads the configuration of a process, with every fault that it has.
    ///
    /// # Errors
    /// One line a fault, each with the place where the value came from and what to do.
    pub(crate) fn load(layers: &Layers, role: Role) -> anyhow::Result<Self> {
        let (config, mut faults) = read::read(layers);
        if let Some(config) = &config {
            faults.extend(check::faults(config, role));
        }
        match config {
            Some(mut config) if faults.is_empty() => {
                config.complete(role);
                Ok(config)
            }
            _ => Err(anyhow::anyhow!("{}", faults.join("\n"))),
        }
    }

    /// Fills in what depends on other settings.
    fn complete(&mut self, role: Role) {
        let below = |path: &mut PathBuf, base: &Path, name: &str| {
            if path.as_os_str().is_empty() {
                *path = base.join(name);
            }
        };
        below(&mut self.agent.state_dir, &self.data_dir, "agent");
        below(&mut self.blobs.directory, &self.data_dir, "blobs");
        below(&mut self.broker.sql.spool_dir, &self.data_dir, "spool");
        if self.agent.profiles.is_empty() {
            let profile = self.broker.default_profile.clone();
            self.agent.profiles.insert(profile, ProfileConfig::default());
        }
        if role == Role::Up {
            let certs = self.data_dir.join("certs");
            let own = TlsFiles::of_role(&certs, "broker");
            self.tls.cert.get_or_insert(own.cert);
            self.tls.key.get_or_insert(own.key);
            self.tls.ca = self.tls.ca.take().or(own.ca);
        }
    }
}

#[cfg(test)]
mod tests;
