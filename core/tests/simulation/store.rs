//! The store: records with revisions, and leases.

use std::collections::BTreeMap;

use berth_core::ids::{BrokerId, NodeId, SessionId};
use berth_core::record::{NodeRecord, SessionRecord, UsageRecord};

#[derive(Debug, Default)]
pub(crate) struct Store {
    pub(crate) revision: u64,
    pub(crate) sessions: BTreeMap<SessionId, (SessionRecord, u64)>,
    pub(crate) usage: Option<(UsageRecord, u64)>,
    /// Nodes with the instant at which their lease ends.
    pub(crate) nodes: BTreeMap<NodeId, (NodeRecord, u64)>,
    /// Brokers with the instant at which their lease ends.
    pub(crate) brokers: BTreeMap<BrokerId, u64>,
}

impl Store {
    pub(crate) fn expire(&mut self, now: u64) {
        self.nodes.retain(|_, (_, until)| *until > now);
        self.brokers.retain(|_, until| *until > now);
    }

    pub(crate) fn read(&self, id: SessionId) -> Option<(SessionRecord, u64)> {
        self.sessions.get(&id).cloned()
    }

    pub(crate) fn node(&self, id: &NodeId) -> Option<&NodeRecord> {
        self.nodes.get(id).map(|(record, _)| record)
    }

    /// Writes a record if it is still at `seen` (0 for absent), with the tenant's usage under the same condition.
    pub(crate) fn write(
        &mut self,
        record: SessionRecord,
        seen: u64,
        usage: Option<(UsageRecord, u64)>,
    ) -> Option<u64> {
        let at = self.sessions.get(&record.id).map_or(0, |(_, revision)| *revision);
        let usage_at = self.usage.as_ref().map_or(0, |(_, revision)| *revision);
        if at != seen || usage.as_ref().is_some_and(|(_, seen)| *seen != usage_at) {
            return None;
        }
        self.revision += 1;
        if let Some((usage, _)) = usage {
            self.usage = Some((usage, self.revision));
        }
        self.sessions.insert(record.id, (record, self.revision));
        Some(self.revision)
    }
}
