//! Where each record lives in the store. Keys are relative to the configured prefix.
//!
//! A listing of one kind is a listing of its prefix, in key order.

use crate::ids::{BrokerId, NodeId, SessionId, TenantId};

/// Prefix of [`crate::record::NodeRecord`]s. Lease: the node's. Writer: its agent.
pub const NODES: &str = "nodes/";
/// Prefix of [`crate::record::BrokerRecord`]s. Lease: the broker's. Writer: that broker.
pub const BROKERS: &str = "brokers/";
/// Prefix of [`crate::record::SessionRecord`]s. No lease. Writers: brokers, compared by revision and epoch.
pub const SESSIONS: &str = "sessions/";
/// Prefix of aliases (Livy's ids and names) to session ids. No lease.
pub const ALIASES: &str = "aliases/";
/// Prefix of usage counters per tenant. No lease.
pub const USAGE: &str = "usage/";
/// Prefix of lineage entries, `lineage/<session>/<seq>`. No lease.
pub const LINEAGE: &str = "lineage/";
/// Prefix of what is remembered of operations, `operations/<session>/<operation>`. No lease.
pub const OPERATIONS: &str = "operations/";
/// The [`crate::record::SecretRecord`] that brokers sign cookies with. No lease. Written once.
pub const COOKIES: &str = "secrets/cookies";
/// The leader's election key. Lease: the leader's. Its create revision is the fencing token of leader duties.
pub const LEADER: &str = "leader";

/// Key of a node's record.
pub fn node(id: &NodeId) -> String {
    format!("{NODES}{id}")
}

/// Key of a broker's record.
pub fn broker(id: &BrokerId) -> String {
    format!("{BROKERS}{id}")
}

/// Key of a session's record.
pub fn session(id: SessionId) -> String {
    format!("{SESSIONS}{id}")
}

/// Key of a tenant's usage counter.
pub fn usage(tenant: &TenantId) -> String {
    format!("{USAGE}{tenant}")
}

/// Prefix of all lineage entries of a session.
pub fn lineage_of(session: SessionId) -> String {
    format!("{LINEAGE}{session}/")
}

/// Key of one lineage entry. Zero-padded, so that key order is sequence order.
pub fn lineage(session: SessionId, seq: u64) -> String {
    format!("{LINEAGE}{session}/{seq:016}")
}

/// Prefix of all remembered operations of a session.
pub fn operations_of(session: SessionId) -> String {
    format!("{OPERATIONS}{session}/")
}

/// Key of one remembered operation. `operation` is the client's id, or one that Berth made.
pub fn operation(session: SessionId, operation: &str) -> String {
    format!("{OPERATIONS}{session}/{operation}")
}

/// Key of the mark that compaction leaves, among a session's operations: no client's id begins with a point.
pub fn compaction(session: SessionId) -> String {
    operation(session, ".compacted")
}

/// Key of an alias: `aliases/<dialect>/<name>`.
pub fn alias(dialect: &str, name: &str) -> String {
    format!("{ALIASES}{dialect}/{name}")
}
