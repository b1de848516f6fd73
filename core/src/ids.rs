//! Identifiers with meaning: one type per kind of id, parsed once at the edge.
//!
//! A value of these types is valid by construction. `Display`, serde and `FromStr` all use the wire form.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Why a text is not an id of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The text is empty or longer than the kind allows.
    #[error("a {kind} has 1 to {max} characters, this one has {len}")]
    Length {
        /// Kind of id.
        kind: &'static str,
        /// Longest allowed length in bytes.
        max: usize,
        /// Length found, in bytes.
        len: usize,
    },
    /// A character is outside the alphabet of the kind.
    #[error("a {kind} consists of letters, digits, '.', '_' and '-', found {found:?}")]
    Alphabet {
        /// Kind of id.
        kind: &'static str,
        /// The first character that is not allowed.
        found: char,
    },
    /// The text is not a UUID in its hyphenated form.
    #[error("a {kind} is a UUID like 6f0c1c0e-1a0b-4c3e-9a53-6f3f3a1b2c3d, found {found:?}")]
    Uuid {
        /// Kind of id.
        kind: &'static str,
        /// The text, cut to 64 characters.
        found: String,
    },
}

fn check_name(kind: &'static str, max: usize, text: &str) -> Result<(), IdError> {
    if text.is_empty() || text.len() > max {
        return Err(IdError::Length {
            kind,
            max,
            len: text.len(),
        });
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    match text.chars().find(|c| !allowed(*c)) {
        Some(found) => Err(IdError::Alphabet { kind, found }),
        None => Ok(()),
    }
}

macro_rules! name_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $max:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Longest wire form, in bytes.
            pub const MAX_LEN: usize = $max;

            /// The wire form.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                check_name($kind, $max, text)?;
                Ok(Self(text.to_owned()))
            }
        }
        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                check_name($kind, $max, &text)?;
                Ok(Self(text))
            }
        }
        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Uuid);

        impl $name {
            /// Wraps a UUID that the caller made or received.
            pub const fn new(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The UUID itself.
            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }
        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                // Only the hyphenated form: Spark refuses the others, and one id must have one spelling.
                let parsed = if text.len() == 36 { Uuid::try_parse(text).ok() } else { None };
                let found = || text.chars().take(64).collect();
                parsed.map(Self).ok_or_else(|| IdError::Uuid { kind: $kind, found: found() })
            }
        }
        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.to_string()
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }
    };
}

name_id! {
    /// A machine that runs one agent. Configured by the operator, stable over restarts.
    NodeId, "node id", 128
}
name_id! {
    /// One run of a broker process.
    BrokerId, "broker id", 128
}
name_id! {
    /// Who is billed and bounded: every session has exactly one tenant.
    TenantId, "tenant", 64
}
name_id! {
    /// A named recipe for drivers.
    ProfileName, "profile name", 64
}
uuid_id! {
    /// A session as Berth knows it, whatever its client calls it. See [`SessionId::for_connect`].
    SessionId, "session id"
}
uuid_id! {
    /// One driver process. Never reused: a restarted driver is a new driver.
    DriverId, "driver id"
}
uuid_id! {
    /// One run of an agent on its node. A node that comes back has a new incarnation only if it lost its lease.
    NodeIncarnation, "node incarnation"
}
uuid_id! {
    /// One execution that a client asked for; in Spark Connect chosen by the client.
    OperationId, "operation id"
}

/// Namespace of the UUIDs (version 5) that Berth derives.
const DERIVED: Uuid = Uuid::from_u128(0x9b1d_7c52_4e0f_5d0a_8a6e_b37f_0c5e_77a1);

impl BrokerId {
    /// The id of no broker: what nobody is doing any more, every broker may take over.
    pub fn nobody() -> Self {
        Self("nobody".to_owned())
    }
}

impl SessionId {
    /// The id of the session that `user` calls `client_session_id` over Spark Connect.
    ///
    /// Spark keys its sessions by user *and* id, so the same id under another user is another session. The id is
    /// derived, not looked up: every broker replica computes the same one without asking the store.
    pub fn for_connect(user: &str, client_session_id: Uuid) -> Self {
        let mut name = Vec::with_capacity(user.len() + 25);
        name.extend_from_slice(b"connect\0");
        name.extend_from_slice(client_session_id.as_bytes());
        name.extend_from_slice(user.as_bytes());
        Self(Uuid::new_v5(&DERIVED, &name))
    }

    /// The id under which a driver knows this session in `epoch`.
    ///
    /// A driver refuses an id that was closed there, and a request meant for an older epoch must find nothing: so
    /// each epoch has an id of its own.
    pub fn upstream(self, epoch: Epoch) -> Uuid {
        let mut name = [0u8; 24];
        name[..16].copy_from_slice(self.0.as_bytes());
        name[16..].copy_from_slice(&epoch.get().to_be_bytes());
        Uuid::new_v5(&DERIVED, &name)
    }
}

/// A session's fencing number. It rises with each new placement; what carries an older one is not obeyed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(u64);

impl Epoch {
    /// The epoch of a session's first placement.
    pub const INITIAL: Epoch = Epoch(1);

    /// The epoch after this one. Saturates: at one move a microsecond that takes 580,000 years.
    #[must_use]
    pub const fn next(self) -> Epoch {
        Epoch(self.0.saturating_add(1))
    }

    /// Reads the wire form. Zero is not an epoch.
    pub const fn from_wire(value: u64) -> Option<Epoch> {
        if value == 0 { None } else { Some(Epoch(value)) }
    }

    /// The wire form.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "e{}", self.0)
    }
}
