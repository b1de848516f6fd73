//! A certificate authority for trials and for `berth up`: one CA, one certificate a role.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

/// Name in the certificates of agents; brokers check it.
pub const AGENT_NAME: &str = "agent.berth";
/// Name in the certificates of brokers.
pub const BROKER_NAME: &str = "broker.berth";

/// Why certificates could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CertsError {
    /// The library refused the parameters.
    #[error("a certificate for {name} could not be made")]
    Make {
        /// The certificate's name.
        name: String,
        /// What the library said.
        #[source]
        source: rcgen::Error,
    },
    /// A file could not be written.
    #[error("{path} could not be written: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

/// Makes `ca.pem`, and `<role>.pem` with `<role>.key` for brokers and agents, in `directory`. `hosts` are further
/// names or addresses of the certificates. The CA's key is not kept: further certificates need a new CA.
///
/// # Errors
/// [`CertsError`].
pub fn make(directory: &Path, hosts: &[String]) -> Result<(), CertsError> {
    let made = |name: &str| {
        let name = name.to_owned();
        move |source| CertsError::Make { name, source }
    };
    let ca_key = KeyPair::generate().map_err(made("the CA"))?;
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    ca.distinguished_name.push(DnType::CommonName, "Berth trial CA");
    let certificate = ca.self_signed(&ca_key).map_err(made("the CA"))?;
    write(&directory.join("ca.pem"), &certificate.pem(), 0o644)?;
    let issuer = Issuer::new(ca, ca_key);
    for (role, name) in [("agent", AGENT_NAME), ("broker", BROKER_NAME)] {
        let mut names = vec![name.to_owned()];
        names.extend(hosts.iter().cloned());
        let mut leaf = CertificateParams::new(names).map_err(made(role))?;
        leaf.distinguished_name.push(DnType::CommonName, name);
        leaf.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = KeyPair::generate().map_err(made(role))?;
        let certificate = leaf.signed_by(&key, &issuer).map_err(made(role))?;
        write(&directory.join(format!("{role}.pem")), &certificate.pem(), 0o644)?;
        write(
            &directory.join(format!("{role}.key")),
            &key.serialize_pem(),
            0o600,
        )?;
    }
    Ok(())
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), CertsError> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let file = std::fs::OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(mode)
        .open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|source| CertsError::Write {
            path: path.to_owned(),
            source,
        })
}
