//! What the store keeps: one small versioned record a key.
//!
//! Records are JSON objects with a `format` number. A reader accepts [`FORMAT`] and the one before it, so that
//! brokers of two neighbouring releases can run side by side; unknown fields are ignored for the same reason.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::ids::{BrokerId, DriverId, Epoch, NodeId, NodeIncarnation, ProfileName, SessionId, TenantId};
use crate::share;

/// The format that this build writes.
pub const FORMAT: u16 = 1;

/// Milliseconds since the Unix epoch, as told by whoever wrote the record. For people and for coarse expiry only:
/// no rule of correctness compares two machines' clocks.
pub type UnixMillis = u64;

/// Why a stored value could not be read.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The value is not JSON of the expected shape.
    #[error("record {key} cannot be read")]
    Malformed {
        /// Key of the record.
        key: String,
        /// What serde found.
        #[source]
        source: serde_json::Error,
    },
    /// The value was written by a release that this one does not understand.
    #[error("record {key} has format {found}, this release reads {FORMAT} and the one before it")]
    Format {
        /// Key of the record.
        key: String,
        /// Format found.
        found: u16,
    },
}

/// A value kept under one key of the store.
pub trait Record: Serialize + DeserializeOwned {
    /// The record's format number.
    fn format(&self) -> u16;

    /// The stored form.
    fn encode(&self) -> Vec<u8> {
        // Plain data with string keys: serde_json has no way to fail on it.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// [`RecordError::Malformed`] for anything that is not such a record, [`RecordError::Format`] for one of a
    /// release too far away.
    fn decode(key: &str, value: &[u8]) -> Result<Self, RecordError> {
        let record: Self = serde_json::from_slice(value).map_err(|source| RecordError::Malformed {
            key: key.to_owned(),
            source,
        })?;
        let found = record.format();
        if found == FORMAT || found + 1 == FORMAT {
            Ok(record)
        } else {
            Err(RecordError::Format {
                key: key.to_owned(),
                found,
            })
        }
    }
}

macro_rules! record {
    ($name:ident) => {
        impl Record for $name {
            fn format(&self) -> u16 {
                self.format
            }
        }
    };
}

/// A protocol that clients speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// Spark Connect gRPC.
    Connect,
    /// Livy REST.
    Livy,
    /// Kyuubi REST.
    Kyuubi,
    /// HiveServer2 Thrift.
    Hs2,
    /// Berth's own gRPC and REST.
    Native,
}

impl Dialect {
    /// The metric label and wire form.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Livy => "livy",
            Self::Kyuubi => "kyuubi",
            Self::Hs2 => "hs2",
            Self::Native => "native",
        }
    }
}

/// What a session is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Work {
    /// Whatever its client asks for, until it is closed.
    #[default]
    Session,
    /// One application that was submitted; see [`crate::batch`].
    Batch,
}

impl Work {
    fn is_session(&self) -> bool {
        *self == Self::Session
    }
}

/// Which driver, on which run of which node, a session lives on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// The node.
    pub node: NodeId,
    /// The run of that node's agent that made the reservation.
    pub incarnation: NodeIncarnation,
    /// The driver.
    pub driver: DriverId,
    /// The server-side session id that this driver gave the upstream session; empty where the dialect has none.
    pub server_session_id: String,
    /// The driver's application, as Spark names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub application: Option<Application>,
}

/// A driver as an application of its Spark.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Application {
    /// Its id: "local-...", "app-...", "application_...".
    pub id: String,
    /// Where its web pages are, if it has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ui_url: Option<String>,
}

/// Why a session left its driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The driver process ended.
    DriverLost,
    /// The node's lease ended.
    NodeLost,
    /// The driver answers no more, or answers that its context is stopped.
    DriverUnhealthy,
    /// The node is being drained.
    Drained,
    /// The move was made to even out load.
    Rebalanced,
    /// The broker that was placing the session died.
    BrokerLost,
}

impl Cause {
    /// The metric label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DriverLost => "driver_lost",
            Self::NodeLost => "node_lost",
            Self::DriverUnhealthy => "driver_unhealthy",
            Self::Drained => "drained",
            Self::Rebalanced => "rebalanced",
            Self::BrokerLost => "broker_lost",
        }
    }
}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CloseReason {
    /// Its client closed it.
    Client,
    /// It was idle past its limit.
    Idle,
    /// An operator closed it.
    Operator,
    /// It could not be placed or recovered.
    Failed,
}

/// Where a session is in its life. The transitions are in [`crate::session`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum SessionState {
    /// A broker is finding and preparing a driver for the record's epoch: the first time, after a loss, or for a
    /// move. `from` is the placement of an earlier epoch, which must be fenced before this one runs anything.
    Placing {
        /// The broker that does it. When that broker's record is gone, any other may take over.
        broker: BrokerId,
        /// The placement left behind, if there was one.
        from: Option<Placement>,
        /// Why it was left; `None` for the first placement.
        cause: Option<Cause>,
        /// When this placing began.
        since: UnixMillis,
    },
    /// The session lives on a driver and serves.
    Active {
        /// Where.
        placement: Placement,
        /// Since when.
        since: UnixMillis,
    },
    /// The session has ended; the record stays for a while so that its id is not taken for a new one.
    Closed {
        /// When.
        at: UnixMillis,
        /// Why.
        reason: CloseReason,
        /// True when the id may be opened again, as a new session.
        #[serde(default)]
        reopen: bool,
    },
}

/// How long a session lives by its client's own wish, in milliseconds; 0 where it has none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Lifetime {
    /// Without use.
    pub idle_millis: u64,
    /// Without any call of a client.
    pub uncalled_millis: u64,
    /// At all.
    pub total_millis: u64,
}

/// One line of a session's history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionEvent {
    /// When.
    pub at: UnixMillis,
    /// The epoch that began or ended.
    pub epoch: Epoch,
    /// What happened, for a person: "recovered on node-b after driver_lost, 7 entries replayed".
    pub what: String,
}

/// A session: what a client opened and wants to keep.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRecord {
    /// Format number.
    pub format: u16,
    /// Its id.
    pub id: SessionId,
    /// The dialect that opened it.
    pub dialect: Dialect,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Work::is_session")]
    pub work: Work,
    /// The user it belongs to, as the dialect names it; empty where the client named none.
    pub owner: String,
    /// The tenant it counts for.
    pub tenant: TenantId,
    /// The recipe of its drivers.
    pub profile: ProfileName,
    /// What the client calls it (Spark Connect's session id, Livy's number).
    pub client_id: String,
    /// A name given by the client or an operator.
    pub name: Option<String>,
    /// The server-side session id that its client is shown for the session's whole life.
    pub server_session_id: Uuid,
    /// Memory that its driver reserves, in bytes.
    pub memory_bytes: u64,
    /// Confs given at creation, applied on every placement. Ordered for stable bytes.
    pub confs: BTreeMap<String, String>,
    /// When it ends by its client's wish.
    #[serde(default)]
    pub lifetime: Lifetime,
    /// With whom it wants to be on a driver, where its client says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<share::Asked>,
    /// The broker that it ends with, where its client can reach it at no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound_to: Option<BrokerId>,
    /// When it was opened.
    pub created_at: UnixMillis,
    /// The current epoch.
    pub epoch: Epoch,
    /// The current state.
    pub state: SessionState,
    /// The epochs of drivers in a row that ended by themselves soon after they had it, the latest few; see
    /// [`crate::session::ends_its_drivers`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub early_losses: Vec<Epoch>,
    /// Code up to this place of its lineage was found to end its drivers, and is not run again; 0 for none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out: u64,
    /// The latest events, oldest first, at most [`SessionRecord::MAX_HISTORY`].
    pub history: Vec<SessionEvent>,
}
record!(SessionRecord);

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
const fn is_zero(place: &u64) -> bool {
    *place == 0
}

impl SessionRecord {
    /// How many events a record keeps. More are in the logs; the record must stay small.
    pub const MAX_HISTORY: usize = 12;

    /// True where the session's state is its driver's process: nobody else may be on that driver, its confs are the
    /// session's, and there is no Spark Connect session to make on it.
    pub fn owns_driver(&self) -> bool {
        self.dialect == Dialect::Livy || self.work == Work::Batch
    }
}

/// A node whose agent holds its lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// Format number.
    pub format: u16,
    /// The node.
    pub id: NodeId,
    /// The run of its agent.
    pub incarnation: NodeIncarnation,
    /// Where brokers reach the agent: `host:port`.
    pub address: String,
    /// Labels that profiles and placement can ask for.
    pub labels: BTreeMap<String, String>,
    /// True while an operator drains the node.
    pub draining: bool,
    /// When the agent started.
    pub started_at: UnixMillis,
    /// Berth's version on that node.
    pub version: String,
}
record!(NodeRecord);

/// A broker that holds its lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokerRecord {
    /// Format number.
    pub format: u16,
    /// The broker.
    pub id: BrokerId,
    /// Its admin address: `host:port`.
    pub admin_address: String,
    /// Where other brokers reach its Kyuubi REST API: `http://host:port`; `None` where they cannot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kyuubi_url: Option<String>,
    /// When it started.
    pub started_at: UnixMillis,
    /// Berth's version there.
    pub version: String,
}
record!(BrokerRecord);

/// A secret that all brokers share, made by the first of them.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretRecord {
    /// Format number.
    pub format: u16,
    /// Random bytes, in hexadecimal.
    pub secret: String,
}
record!(SecretRecord);

impl std::fmt::Debug for SecretRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SecretRecord").finish_non_exhaustive()
    }
}

/// What a tenant uses now. Changed only in the transaction that opens or closes a session (I5).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageRecord {
    /// Format number.
    pub format: u16,
    /// Sessions that are not closed.
    pub sessions: u64,
    /// Sum of their reservations.
    pub memory_bytes: u64,
}
record!(UsageRecord);
