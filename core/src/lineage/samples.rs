//! Entries for tests.

use uuid::Uuid;

use super::{Class, LineageEntry, Outcome, Payload};
use crate::ids::{Epoch, SessionId};

/// An operation that succeeded.
pub(super) fn entry(seq: u64, class: Class, key: &str) -> LineageEntry {
    LineageEntry {
        format: LineageEntry::FORMAT,
        session: SessionId::new(Uuid::nil()),
        seq,
        epoch: Epoch::INITIAL,
        operation: seq.to_string(),
        alias: String::new(),
        class,
        call: "execute".to_owned(),
        what: format!("entry {seq}"),
        key: key.to_owned(),
        payload: Payload::Inline(String::new()),
        blobs: Vec::new(),
        fingerprint: 0,
        outcome: Outcome::Succeeded { answer: None },
        waits: false,
        reruns: 0,
        claim: None,
        handed_on: false,
        at: 0,
    }
}
