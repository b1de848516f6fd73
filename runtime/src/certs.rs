//! A certificate authority for clusters without one, for trials and for `berth up`.
//!
//! One directory holds `ca.pem` and `ca.key`, and a certificate with its key for each role: `agent.pem`,
//! `agent.key`, `broker.pem`, `broker.key`. Key files are readable by their owner only. Making certificates again
//! in the same directory keeps the CA, so that old and new ones trust each other.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::ServerName;

/// Name in the certificates of agents; brokers check it.
pub const AGENT_NAME: &str = "agent.berth";
/// Name in the certificates of brokers; agents check it.
pub const BROKER_NAME: &str = "broker.berth";

const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
/// A CA must outlive the certificates that it signs.
const CA_LIFE: Duration = Duration::from_secs(10 * YEAR.as_secs());
const LEAF_LIFE: Duration = Duration::from_secs(2 * YEAR.as_secs());
/// Machines whose clock is late by up to this accept a new certificate.
const CLOCK_SLACK: Duration = Duration::from_secs(3600);

/// Why certificates could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CertsError {
    /// The library refused the parameters.
    #[error("a certificate for {name} could not be made: {source}")]
    Make {
        /// The certificate's name.
        name: String,
        /// What the library said.
        #[source]
        source: rcgen::Error,
    },
    /// A file could not be read or written.
    #[error("{path} cannot be used: {source}; choose a directory that this user can write to")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A CA without its key cannot sign.
    #[error(
        "{path} is there but its key {key} is not: put the key there, or remove the CA to make a new one"
    )]
    NoKey {
        /// The CA's certificate.
        path: PathBuf,
        /// The key that is missing.
        key: PathBuf,
    },
    /// A name that no certificate can carry.
    #[error("'{name}' is neither a host name nor an IP address")]
    Name {
        /// The name.
        name: String,
    },
}

/// Makes certificates for brokers and agents in `directory`, and the CA if there is none yet. `hosts` are further
/// names or addresses of the certificates: ids of nodes and brokers, and where clients reach them.
///
/// # Errors
/// [`CertsError`].
pub fn make(directory: &Path, hosts: &[String]) -> Result<(), CertsError> {
    if let Some(name) = hosts
        .iter()
        .find(|name| ServerName::try_from(name.as_str()).is_err())
    {
        return Err(CertsError::Name { name: name.clone() });
    }
    std::fs::create_dir_all(directory).map_err(|source| CertsError::File {
        path: directory.to_owned(),
        source,
    })?;
    let issuer = authority(directory)?;
    issue(directory, &issuer, "agent", AGENT_NAME, hosts)?;
    issue(directory, &issuer, "broker", BROKER_NAME, hosts)
}

/// The directory's CA, made if it is not there.
fn authority(directory: &Path) -> Result<Issuer<'static, KeyPair>, CertsError> {
    let (path, key_path) = (directory.join("ca.pem"), directory.join("ca.key"));
    let made = |source| CertsError::Make {
        name: "the CA".to_owned(),
        source,
    };
    match (path.exists(), key_path.exists()) {
        (true, true) => {
            let pem = std::fs::read_to_string(&key_path).map_err(|source| CertsError::File {
                path: key_path,
                source,
            })?;
            let key = KeyPair::from_pem(&pem).map_err(made)?;
            Ok(Issuer::new(authority_params(), key))
        }
        (true, false) => Err(CertsError::NoKey { path, key: key_path }),
        (false, _) => {
            let key = KeyPair::generate().map_err(made)?;
            let certificate = authority_params().self_signed(&key).map_err(made)?;
            write(&key_path, &key.serialize_pem(), 0o600)?;
            write(&path, &certificate.pem(), 0o644)?;
            Ok(Issuer::new(authority_params(), key))
        }
    }
}

/// The same for every CA made here: an issuer that is loaded again needs only its key.
fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    live_for(&mut params, CA_LIFE);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name.push(DnType::CommonName, "Berth CA");
    params
}

fn issue(
    directory: &Path,
    issuer: &Issuer<'_, KeyPair>,
    role: &str,
    role_name: &str,
    hosts: &[String],
) -> Result<(), CertsError> {
    let made = |source| CertsError::Make {
        name: role.to_owned(),
        source,
    };
    let mut names = vec![role_name.to_owned()];
    names.extend(hosts.iter().cloned());
    let mut params = CertificateParams::new(names).map_err(made)?;
    live_for(&mut params, LEAF_LIFE);
    params.distinguished_name.push(DnType::CommonName, role_name);
    params.use_authority_key_identifier_extension = true;
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    let key = KeyPair::generate().map_err(made)?;
    let certificate = params.signed_by(&key, issuer).map_err(made)?;
    write(
        &directory.join(format!("{role}.key")),
        &key.serialize_pem(),
        0o600,
    )?;
    write(&directory.join(format!("{role}.pem")), &certificate.pem(), 0o644)
}

fn live_for(params: &mut CertificateParams, life: Duration) {
    let now = SystemTime::now();
    params.not_before = (now - CLOCK_SLACK).into();
    params.not_after = (now + life).into();
}

/// Replaces the file in one step: a process that reloads its certificate never reads half of it.
fn write(path: &Path, text: &str, mode: u32) -> Result<(), CertsError> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let new = path.with_extension("new");
    let written = || {
        // A file left by an earlier attempt could have other permissions.
        match std::fs::remove_file(&new) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let file = std::fs::OpenOptions::new()
            .create_new(true)
            .write(true)
            .mode(mode)
            .open(&new);
        file?.write_all(text.as_bytes())?;
        std::fs::rename(&new, path)
    };
    written().map_err(|source| CertsError::File {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn keys_are_private_and_the_ca_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let hosts = ["node-a".to_owned(), "127.0.0.1".to_owned()];
        make(directory.path(), &hosts).unwrap();
        let read = |name: &str| std::fs::read_to_string(directory.path().join(name)).unwrap();
        let (ca, agent) = (read("ca.pem"), read("agent.pem"));
        make(directory.path(), &hosts).unwrap();
        assert_eq!(ca, read("ca.pem"));
        assert_ne!(agent, read("agent.pem"));
        for name in ["ca.key", "agent.key", "broker.key"] {
            let mode = std::fs::metadata(directory.path().join(name))
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
    }

    #[test]
    fn a_name_that_is_none_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let error = make(directory.path(), &["not a host".to_owned()]).unwrap_err();
        assert!(error.to_string().contains("not a host"), "{error}");
    }
}
