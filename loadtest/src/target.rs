//! Where to send load: `host:port` or a Spark Connect string.

use std::str::FromStr;

use anyhow::{Context, bail};

/// An address with what Spark's connection string can add to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// `host:port`.
    pub authority: String,
    /// Presented as `Bearer`.
    pub token: Option<String>,
    /// The user of the session.
    pub user: String,
    /// Further headers.
    pub headers: Vec<(String, String)>,
}

impl Target {
    /// The same target with another token, if there is one.
    #[must_use]
    pub fn with_token(mut self, token: Option<String>) -> Self {
        self.token = token.or(self.token);
        self
    }

    fn set(&mut self, key: &str, value: &str) -> anyhow::Result<()> {
        match key {
            "token" => self.token = Some(value.to_owned()),
            "user_id" => value.clone_into(&mut self.user),
            "use_ssl" if value == "true" => bail!("TLS is not offered here: measure a plaintext listener"),
            "use_ssl" | "user_agent" => {}
            "session_id" => bail!("session_id cannot be chosen: every benchmark makes its own sessions"),
            _ => self.headers.push((key.to_lowercase(), value.to_owned())),
        }
        Ok(())
    }
}

impl FromStr for Target {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let rest = text.strip_prefix("sc://").unwrap_or(text);
        let (authority, parameters) = rest.split_once('/').unwrap_or((rest, ""));
        if authority.is_empty() {
            bail!("{text:?} has no host: write host:port or sc://host:port/;token=...");
        }
        let has_port = authority
            .rsplit_once(':')
            .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let mut target = Self {
            authority: if has_port {
                authority.to_owned()
            } else {
                format!("{authority}:15002")
            },
            token: None,
            user: "loadtest".to_owned(),
            headers: Vec::new(),
        };
        for parameter in parameters.split(';').filter(|p| !p.is_empty()) {
            let (key, value) = parameter
                .split_once('=')
                .context("a parameter is written key=value")?;
            target.set(key, value)?;
        }
        Ok(target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_addresses_and_connection_strings() {
        let plain: Target = "127.0.0.1:15002".parse().unwrap();
        assert_eq!(plain.authority, "127.0.0.1:15002");
        let full: Target = "sc://berth/;token=t;user_id=ada;X-Tenant=blue".parse().unwrap();
        assert_eq!(full.authority, "berth:15002");
        assert_eq!((full.token.as_deref(), full.user.as_str()), (Some("t"), "ada"));
        assert_eq!(full.headers, [("x-tenant".to_owned(), "blue".to_owned())]);
        assert!("sc:///;a=b".parse::<Target>().is_err());
        assert!("sc://h/;use_ssl=true".parse::<Target>().is_err());
    }
}
