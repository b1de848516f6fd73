//! Lineage: the durable, ordered record of what made a session's state.
//!
//! An operation's intent is durable before it is sent to the driver, its outcome before the client hears it.

pub mod altered;
pub mod compact;
pub mod replay;
#[cfg(test)]
mod samples;
pub mod views;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::ids::{Epoch, SessionId};
use crate::record::{FORMAT, Record, UnixMillis};

/// What an operation does, as far as a later recovery cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// Changes nothing: run again after a loss, invisibly.
    Read,
    /// Changes the session only: recorded before it runs, replayed in order on a new driver.
    State,
    /// Has effects outside the session: recorded before it runs, never run a second time.
    Write,
    /// Makes something that only its driver has: recorded as lost if the session moves.
    Pinned,
}

impl Class {
    /// Its name in records, metrics and explanations.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::State => "state",
            Self::Write => "write",
            Self::Pinned => "pinned",
        }
    }
}

/// Bytes kept with a record, or in the blob store when they are large.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Payload {
    /// In the record, base64.
    Inline(String),
    /// In the blob store under its SHA-256, in hexadecimal.
    Blob {
        /// Content hash.
        sha256: String,
        /// Length in bytes.
        len: u64,
    },
}

/// What became of an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Outcome {
    /// Nobody knows yet. After a loss: a state change may be run at its place, a write may not.
    Unknown,
    /// It succeeded. `answer` is what the client was or would be told: the response messages, each with a 4-byte
    /// big-endian length before it.
    Succeeded {
        /// The answer; `None` when it was too large to keep.
        answer: Option<Payload>,
    },
    /// It failed, and its client was or would be told so.
    Failed {
        /// gRPC status code.
        code: i32,
        /// Status message.
        message: String,
        /// `grpc-status-details-bin`, base64, empty if none.
        details: String,
    },
}

/// One entry of a session's lineage, under [`crate::keys::lineage`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineageEntry {
    /// Format number.
    pub format: u16,
    /// The session.
    pub session: SessionId,
    /// Position in the session's lineage, from 1.
    pub seq: u64,
    /// The epoch in which the operation was asked for.
    pub epoch: Epoch,
    /// The client's operation id, or one that Berth made for calls without.
    pub operation: String,
    /// Another name that only this entry of its session has, and is found by: "statement-7". Empty for none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub alias: String,
    /// The class; never [`Class::Read`].
    pub class: Class,
    /// The RPC or statement kind to send the payload with: "execute", "config", "analyze", "artifacts", "code".
    pub call: String,
    /// For a person: "CREATE TEMPORARY VIEW v", "spark.sql.shuffle.partitions".
    pub what: String,
    /// Entries of one session with equal, non-empty keys replace each other: "conf:k", "view:v", "udf:f".
    pub key: String,
    /// The request as it came, whole.
    pub payload: Payload,
    /// Blobs that the payload names, besides its own: they are kept for as long as the entry.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blobs: Vec<String>,
    /// A hash of the plan (or whole request), to tell a retry from another operation under the same id.
    pub fingerprint: u64,
    /// The outcome.
    pub outcome: Outcome,
    /// True while it waits for a driver: it was given to none, and nobody gives it to one before this is cleared.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub waits: bool,
    /// How often it was to run again since a driver was lost that may have begun it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub reruns: u32,
    /// A fresh id of the latest claim: what two brokers write to claim an entry must differ, for a broker that lost the
    /// answer of its store knows its own claim by what it wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<Uuid>,
    /// True if a broker that did not claim it may have given it to its driver.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub handed_on: bool,
    /// When the intent was written.
    pub at: UnixMillis,
}

/// How often what may begin a second time does so.
const MAX_RERUNS: u32 = 1;

/// Who says that something did not begin in its epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Witness {
    /// The agent of that epoch's driver, which lets nothing begin without its knowledge.
    Agent,
    /// A broker that claimed it and never brought it to an agent.
    Claimant,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Record for LineageEntry {
    fn format(&self) -> u16 {
        self.format
    }
}

impl LineageEntry {
    /// The format that this build writes.
    pub const FORMAT: u16 = FORMAT;

    /// The entry with its outcome, or `None` if it has one already: the first outcome stands, since a client may
    /// have heard it (I2).
    pub fn conclude(self, outcome: Outcome) -> Option<Self> {
        match self.outcome {
            Outcome::Unknown => Some(Self { outcome, ..self }),
            Outcome::Succeeded { .. } | Outcome::Failed { .. } => None,
        }
    }

    /// True if it was given to the driver of an epoch, and nobody has settled it since.
    fn is_with(&self, epoch: Epoch) -> bool {
        self.outcome == Outcome::Unknown && self.epoch == epoch && !self.waits
    }

    /// The entry with its outcome, or `None` if it has one already, left the epoch `from`, or waits for a driver again:
    /// what is said of a lost driver says nothing of what is not with it.
    pub fn give_up(self, from: Epoch, outcome: Outcome) -> Option<Self> {
        self.is_with(from).then_some(Self { outcome, ..self })
    }

    /// The entry for the driver of the epoch `to`, or `None` if it does not wait for one any more. Of several brokers
    /// one gives it to a driver (I3); `claim` is an id that no other claim has.
    pub fn claim(self, to: Epoch, claim: Uuid) -> Option<Self> {
        (self.outcome == Outcome::Unknown && self.waits).then_some(Self {
            epoch: to,
            claim: Some(claim),
            waits: false,
            handed_on: false,
            ..self
        })
    }

    /// The entry for a broker that did not claim it and gives it to its driver, too, which runs it once: whoever
    /// claimed it may be lost.
    pub fn hand_on(self, from: Epoch) -> Option<Self> {
        self.is_with(from).then_some(Self {
            handed_on: true,
            ..self
        })
    }

    /// The entry as one that waits for a driver again, or `None` if it has an outcome, left the epoch `from`, or the
    /// witness cannot know: it did not begin there, so it may begin elsewhere (I3).
    pub fn put_back(self, from: Epoch, witness: Witness) -> Option<Self> {
        let knows = witness == Witness::Agent || !self.handed_on;
        (knows && self.is_with(from)).then_some(Self { waits: true, ..self })
    }

    /// The entry as one that waits for a driver again, for what may begin a second time; `None` as for
    /// [`LineageEntry::put_back`], or if enough drivers were lost over it.
    pub fn run_again(self, from: Epoch) -> Option<Self> {
        let may = self.reruns < MAX_RERUNS && self.is_with(from);
        may.then_some(Self {
            waits: true,
            reruns: self.reruns + 1,
            ..self
        })
    }

    /// The entry with its outcome, or `None` if it does not wait for a driver any more.
    pub fn withdraw(self, outcome: Outcome) -> Option<Self> {
        if self.waits { self.conclude(outcome) } else { None }
    }
}
