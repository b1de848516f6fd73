//! Where etcd is and how to get in.

use std::path::{Path, PathBuf};
use std::time::Duration;

use etcd_client::{Certificate, ConnectOptions, Identity, TlsOptions};

use crate::StoreError;

/// How etcd is reached. Secrets are named by file and never printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EtcdConfig {
    /// Client URLs of the members, such as `https://etcd-0:2379`. One is in use at a time, the next after a failure.
    pub endpoints: Vec<String>,
    /// What all keys begin with. Two clusters of Berth can share one etcd under different prefixes.
    pub prefix: String,
    /// User name, where etcd's authentication is on. Needs `password_file`.
    pub user: Option<String>,
    /// File with the user's password; line ends after it are not part of it.
    pub password_file: Option<PathBuf>,
    /// Certificate authority of the members, PEM. Needs `https` endpoints.
    pub ca: Option<PathBuf>,
    /// Certificate that this client shows, PEM. Needs `key`.
    pub cert: Option<PathBuf>,
    /// Private key of `cert`, PEM.
    pub key: Option<PathBuf>,
    /// How long one try may take. Too short, and a busy disk looks like a dead member; too long, and a dead member
    /// stops everybody for as long.
    pub request_timeout: Duration,
}

impl EtcdConfig {
    /// Plain access to `endpoints`, with the defaults.
    pub fn new(endpoints: Vec<String>) -> Self {
        Self {
            endpoints,
            prefix: "/berth/".to_owned(),
            user: None,
            password_file: None,
            ca: None,
            cert: None,
            key: None,
            request_timeout: Duration::from_millis(400),
        }
    }
}

/// Why etcd could not be connected to.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// No endpoint is configured.
    #[error("no etcd endpoint is configured; name at least one, such as http://127.0.0.1:2379")]
    NoEndpoint,
    /// One setting needs another.
    #[error("etcd setting '{given}' needs '{missing}' too")]
    Incomplete {
        /// What is set.
        given: &'static str,
        /// What is not.
        missing: &'static str,
    },
    /// A file could not be read.
    #[error("etcd {what} file {path} could not be read; check its path and permissions")]
    File {
        /// Which setting names it.
        what: &'static str,
        /// The file.
        path: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// An endpoint or certificate is malformed, or etcd does not answer, or does not let us in.
    #[error("etcd at {endpoints} could not be connected to")]
    Store {
        /// All endpoints.
        endpoints: String,
        /// Why.
        #[source]
        source: StoreError,
    },
}

/// A ping on a quiet connection. etcd closes connections that ping more often than every five seconds.
const PING: Duration = Duration::from_secs(10);
/// How long a ping may stay unanswered.
const PONG: Duration = Duration::from_secs(3);

/// Reads the files and makes the client library's options.
pub(super) fn options(config: &EtcdConfig) -> Result<ConnectOptions, ConnectError> {
    if config.endpoints.is_empty() {
        return Err(ConnectError::NoEndpoint);
    }
    if config.prefix.is_empty() {
        return Err(ConnectError::Incomplete {
            given: "endpoints",
            missing: "prefix",
        });
    }
    let mut options = ConnectOptions::new()
        .with_require_leader(true)
        .with_auto_token_refresh(true)
        .with_keep_alive(PING, PONG)
        // Shorter than a try, so that a connection that does not come about is known as such: what was to be sent
        // over it was surely not sent.
        .with_connect_timeout(config.request_timeout * 3 / 4);
    if let Some((user, password)) = credentials(config)? {
        options = options.with_user(user, password);
    }
    if let Some(tls) = tls(config)? {
        options = options.with_tls(tls);
    }
    Ok(options)
}

fn credentials(config: &EtcdConfig) -> Result<Option<(String, String)>, ConnectError> {
    let Some((user, file)) = pair(
        ("user", config.user.as_ref()),
        ("password_file", config.password_file.as_ref()),
    )?
    else {
        return Ok(None);
    };
    let password = String::from_utf8_lossy(&read("password", file)?).into_owned();
    Ok(Some((
        user.clone(),
        password.trim_end_matches(['\r', '\n']).to_owned(),
    )))
}

fn tls(config: &EtcdConfig) -> Result<Option<TlsOptions>, ConnectError> {
    let identity = pair(("cert", config.cert.as_ref()), ("key", config.key.as_ref()))?;
    if config.ca.is_none() && identity.is_none() {
        return Ok(None);
    }
    let mut tls = TlsOptions::new();
    if let Some(ca) = &config.ca {
        tls = tls.ca_certificate(Certificate::from_pem(read("ca", ca)?));
    }
    if let Some((cert, key)) = identity {
        tls = tls.identity(Identity::from_pem(read("cert", cert)?, read("key", key)?));
    }
    Ok(Some(tls))
}

/// Both or none.
fn pair<A, B>(
    (first_name, first): (&'static str, Option<A>),
    (second_name, second): (&'static str, Option<B>),
) -> Result<Option<(A, B)>, ConnectError> {
    let incomplete = |given, missing| Err(ConnectError::Incomplete { given, missing });
    match (first, second) {
        (Some(first), Some(second)) => Ok(Some((first, second))),
        (None, None) => Ok(None),
        (Some(_), None) => incomplete(first_name, second_name),
        (None, Some(_)) => incomplete(second_name, first_name),
    }
}

fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, ConnectError> {
    std::fs::read(path).map_err(|source| ConnectError::File {
        what,
        path: path.display().to_string(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut EtcdConfig)) -> String {
        let mut config = EtcdConfig::new(vec!["http://127.0.0.1:1".to_owned()]);
        change(&mut config);
        options(&config).unwrap_err().to_string()
    }

    #[test]
    fn an_incomplete_configuration_names_what_is_missing() {
        assert!(refused(|config| config.endpoints.clear()).contains("at least one"));
        assert!(refused(|config| config.prefix.clear()).contains("'prefix'"));
        assert!(refused(|config| config.user = Some("u".into())).contains("'password_file'"));
        assert!(refused(|config| config.key = Some("k".into())).contains("'cert'"));
        let missing = refused(|config| config.ca = Some("/nowhere/ca.pem".into()));
        assert!(missing.contains("/nowhere/ca.pem"), "{missing}");
    }
}
