//! What the leader has to do for a session that nobody asks for.
//!
//! Every duty is safe to do twice and by two brokers at once: it ends in a transaction on the session's record, which
//! one of them wins. So the picture that duties are decided from may be old.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::{BrokerId, DriverId, Epoch, NodeId, NodeIncarnation, SessionId};
use crate::record::{Dialect, Lifetime, Placement, SessionRecord, SessionState, UnixMillis, Work};

/// As much of a session as duties, and a broker's table of all sessions, need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Brief {
    /// Its id.
    pub id: SessionId,
    /// Its dialect.
    pub dialect: Dialect,
    /// What it is for.
    pub work: Work,
    /// Its epoch.
    pub epoch: Epoch,
    /// When it ends by its client's wish.
    pub lifetime: Lifetime,
    /// The broker that it ends with.
    pub bound_to: Option<BrokerId>,
    /// When it was opened.
    pub created_at: UnixMillis,
    /// Where it is.
    pub at: At,
}

/// Where a session is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum At {
    /// A broker is placing it.
    Placing {
        /// The broker.
        broker: BrokerId,
        /// True if it was on a driver before.
        again: bool,
        /// Since when.
        since: UnixMillis,
    },
    /// It is on a driver.
    On {
        /// The node.
        node: NodeId,
        /// The run of the node's agent.
        incarnation: NodeIncarnation,
        /// The driver.
        driver: DriverId,
    },
    /// It has ended.
    Closed {
        /// When.
        at: UnixMillis,
    },
}

impl Brief {
    /// The brief of a record.
    pub fn of(record: &SessionRecord) -> Self {
        let at = match &record.state {
            SessionState::Placing {
                broker, from, since, ..
            } => At::Placing {
                broker: broker.clone(),
                again: from.is_some(),
                since: *since,
            },
            SessionState::Active {
                placement:
                    Placement {
                        node,
                        incarnation,
                        driver,
                        ..
                    },
                ..
            } => At::On {
                node: node.clone(),
                incarnation: *incarnation,
                driver: *driver,
            },
            SessionState::Closed { at, .. } => At::Closed { at: *at },
        };
        Self {
            id: record.id,
            dialect: record.dialect,
            work: record.work,
            epoch: record.epoch,
            lifetime: record.lifetime,
            bound_to: record.bound_to.clone(),
            created_at: record.created_at,
            at,
        }
    }
}

/// What is known of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The run of its agent.
    pub incarnation: NodeIncarnation,
    /// True while an operator drains it.
    pub draining: bool,
    /// Its drivers, with how quiet each is; `None` while the agent does not answer.
    pub drivers: Option<BTreeMap<DriverId, Quiet>>,
}

/// For how long nothing has happened to a driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quiet {
    /// Nothing has used it.
    pub idle_millis: u64,
    /// No client of its sessions has called, as far as brokers have told.
    pub uncalled_millis: u64,
}

/// What is known of the cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cluster {
    /// Brokers that hold their lease.
    pub brokers: BTreeSet<BrokerId>,
    /// Brokers that have held it within [`Patience::broker_millis`]; `None` for a leader that has not looked for so
    /// long.
    pub lately: Option<BTreeSet<BrokerId>>,
    /// Nodes that hold their lease.
    pub nodes: BTreeMap<NodeId, Node>,
}

/// How long things are left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Milliseconds after which an idle session ends; 0 for never.
    pub idle_millis: u64,
    /// Milliseconds for which the record of a session that has ended is kept.
    pub closed_millis: u64,
    /// Milliseconds for which a driver of a draining node must be idle before its sessions move.
    pub quiet_millis: u64,
    /// Milliseconds after which a broker without its lease does not come back.
    pub broker_millis: u64,
}

/// Something to do for a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Duty {
    /// Follow a batch to its end, and do what its submission asked for if its place is lost.
    Attend,
    /// Bring it back to a driver.
    Recover,
    /// Move it away from a node that is drained.
    Move {
        /// True where whatever is not known to have ended has ended: nobody has asked for it for so long that its
        /// driver has given it up.
        forsaken: bool,
    },
    /// End it.
    Expire,
    /// Forget its record.
    Reap,
}

/// Milliseconds, besides a quarter of its limit, by which a session outlives its last call: brokers tell of calls a
/// little later than they come.
const TOLD_WITHIN_MILLIS: u64 = 2000;

/// Milliseconds without use after which a driver runs nothing any more. Spark gives up what nobody is attached to
/// after five minutes (`spark.connect.execute.manager.detachedTimeout`).
const FORSAKEN_MILLIS: u64 = 600_000;

/// What has to be done for a session, if anything.
pub fn duty(brief: &Brief, cluster: &Cluster, patience: Patience, now: UnixMillis) -> Option<Duty> {
    let total = brief.lifetime.total_millis;
    if total > 0 && !matches!(brief.at, At::Closed { .. }) && is_over(brief.created_at, total, now) {
        return Some(Duty::Expire);
    }
    if is_forsaken(brief, cluster, patience, now) {
        return Some(Duty::Expire);
    }
    match &brief.at {
        At::Closed { at } => is_over(*at, patience.closed_millis, now).then_some(Duty::Reap),
        // It never counts as idle, and a node that is drained waits for it.
        At::Placing { .. } | At::On { .. } if brief.work == Work::Batch => Some(Duty::Attend),
        At::Placing { broker, .. } if cluster.brokers.contains(broker) => None,
        // A client of Livy does not wait for its session; one of the others asks again if it still wants it.
        At::Placing { again, .. } if *again || brief.dialect == Dialect::Livy => Some(Duty::Recover),
        At::Placing { since, .. } => expires(*since, patience, now),
        At::On {
            node,
            incarnation,
            driver,
        } => match cluster.nodes.get(node) {
            Some(node) if node.incarnation == *incarnation => {
                on_node(brief.lifetime, node, *driver, patience)
            }
            Some(_) | None => Some(Duty::Recover),
        },
    }
}

/// True of a session whose client lost it with its broker. One that is younger than the picture of the brokers may be
/// of a broker that is not in the picture yet.
fn is_forsaken(brief: &Brief, cluster: &Cluster, patience: Patience, now: UnixMillis) -> bool {
    let (Some(broker), Some(lately)) = (&brief.bound_to, &cluster.lately) else {
        return false;
    };
    let is_known = is_over(brief.created_at, patience.broker_millis, now);
    is_known && !lately.contains(broker) && !matches!(brief.at, At::Closed { .. })
}

fn on_node(lifetime: Lifetime, node: &Node, driver: DriverId, patience: Patience) -> Option<Duty> {
    // Silence of an agent proves nothing.
    let drivers = node.drivers.as_ref()?;
    let Some(quiet) = drivers.get(&driver) else {
        return Some(Duty::Recover);
    };
    if is_abandoned(lifetime, *quiet, patience) {
        Some(Duty::Expire)
    } else {
        let forsaken = quiet.idle_millis >= FORSAKEN_MILLIS;
        (node.draining && quiet.idle_millis >= patience.quiet_millis).then_some(Duty::Move { forsaken })
    }
}

/// The session's own limit without use stands before the cluster's.
fn is_abandoned(lifetime: Lifetime, quiet: Quiet, patience: Patience) -> bool {
    let (idle, uncalled) = (lifetime.idle_millis, lifetime.uncalled_millis);
    let is_past = |quiet: u64, limit: u64, grace: u64| limit > 0 && quiet >= limit.saturating_add(grace);
    let is_idle = match idle {
        0 => is_past(quiet.idle_millis, patience.idle_millis, 0),
        // Some uses are told by brokers as calls are.
        own => is_past(quiet.idle_millis, own, grace_of(own)),
    };
    is_idle || is_past(quiet.uncalled_millis, uncalled, grace_of(uncalled))
}

fn grace_of(limit: u64) -> u64 {
    (limit / 4).max(TOLD_WITHIN_MILLIS)
}

fn expires(since: UnixMillis, patience: Patience, now: UnixMillis) -> Option<Duty> {
    (patience.idle_millis > 0 && is_over(since, patience.idle_millis, now)).then_some(Duty::Expire)
}

fn is_over(since: UnixMillis, millis: u64, now: UnixMillis) -> bool {
    now.saturating_sub(since) >= millis
}

/// True if a driver that an agent holds for this epoch of a session serves nobody any more. `brief` is the session as
/// the store has it now.
pub fn is_orphan(brief: Option<&Brief>, epoch: Epoch) -> bool {
    match brief {
        None => true,
        Some(brief) => epoch < brief.epoch || matches!(brief.at, At::Closed { .. }),
    }
}

#[cfg(test)]
mod tests;
