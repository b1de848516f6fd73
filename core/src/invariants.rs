//! The invariants, each with the rule of this crate that keeps it.
//!
//! | | invariant | kept by |
//! |---|---|---|
//! | I1 | one owner: at most one driver executes for a session's current epoch, and none of an epoch before | [`crate::session`] (epochs rise, [`crate::session::fence`] comes first), [`crate::duties::is_orphan`] |
//! | I2 | nothing acknowledged is lost | [`crate::lineage`] (intent and outcome), [`crate::lineage::replay`], [`crate::lineage::compact`] |
//! | I3 | no hidden second run | [`crate::lineage::Class`], [`crate::lineage::replay::plan`], [`crate::lineage::LineageEntry::claim`] |
//! | I4 | sticky: requests of a session reach its current placement | [`crate::session`] (each transition names the epoch it was decided under) |
//! | I5 | exact quotas | [`crate::admission`] |
//! | I6 | no overcommit | [`crate::placement`]; the agent's reservations have the last word |
//! | I7 | isolation | [`crate::ids::SessionId::for_connect`], [`crate::confs`] |
//! | I8 | bounded | [`crate::record::SessionRecord::MAX_HISTORY`], [`crate::lineage::compact`] |
//!
//! Tests carry the number of what they guard in their names.
//!
//! [`violations`] checks a picture of a whole cluster. The simulation calls it after every step.

use std::collections::BTreeMap;

use crate::admission::Limits;
use crate::ids::{Epoch, NodeId, SessionId, TenantId};
use crate::record::{SessionRecord, SessionState, UsageRecord};

/// Drivers of one node, as they are and not as anybody believes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Actual {
    /// Bytes that drivers may reserve.
    pub capacity_bytes: u64,
    /// For each session that something executes for here: the epoch, and what it reserves.
    pub executing: BTreeMap<SessionId, (Epoch, u64)>,
}

/// A whole cluster at one instant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Picture {
    /// The records in the store.
    pub sessions: BTreeMap<SessionId, SessionRecord>,
    /// The usage in the store.
    pub usage: BTreeMap<TenantId, UsageRecord>,
    /// The limits.
    pub limits: BTreeMap<TenantId, Limits>,
    /// What really runs.
    pub nodes: BTreeMap<NodeId, Actual>,
}

/// Everything that is wrong with a picture, one sentence each.
pub fn violations(picture: &Picture) -> Vec<String> {
    let mut found = Vec::new();
    one_owner(picture, &mut found);
    exact_quotas(picture, &mut found);
    for (id, node) in &picture.nodes {
        let reserved: u64 = node.executing.values().map(|(_, bytes)| bytes).sum();
        if reserved > node.capacity_bytes {
            found.push(format!(
                "I6: {id} has {reserved} bytes reserved of {}",
                node.capacity_bytes
            ));
        }
    }
    found
}

fn one_owner(picture: &Picture, found: &mut Vec<String>) {
    let mut epochs: BTreeMap<SessionId, Vec<(Epoch, &NodeId)>> = BTreeMap::new();
    for (node, actual) in &picture.nodes {
        for (session, (epoch, _)) in &actual.executing {
            epochs.entry(*session).or_default().push((*epoch, node));
        }
    }
    for (session, running) in epochs {
        if running.len() > 1 {
            found.push(format!("I1: {session} executes in several places: {running:?}"));
        }
        let Some(record) = picture.sessions.get(&session) else {
            continue;
        };
        for (epoch, node) in running {
            if epoch > record.epoch {
                found.push(format!(
                    "I1: {session} executes in {epoch} on {node}, its record is in {}",
                    record.epoch
                ));
            }
        }
    }
}

fn exact_quotas(picture: &Picture, found: &mut Vec<String>) {
    for (tenant, usage) in &picture.usage {
        let open = picture.sessions.values().filter(|record| {
            record.tenant == *tenant && !matches!(record.state, SessionState::Closed { .. })
        });
        let open = open.count() as u64;
        if usage.sessions != open {
            found.push(format!(
                "I5: {tenant} has {open} open sessions, its usage says {}",
                usage.sessions
            ));
        }
        let limit = picture.limits.get(tenant).copied().unwrap_or_default().sessions;
        if open > limit {
            found.push(format!(
                "I5: {tenant} has {open} open sessions and may have {limit}"
            ));
        }
    }
}
