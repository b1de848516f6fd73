//! All sessions of the cluster in memory, kept up to date by a watch.
//!
//! It may be behind. Whatever is decided from it is checked by the transaction that carries it out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use berth_core::duties::{At, Brief};
use berth_core::ids::{DriverId, SessionId, TenantId};
use berth_core::record::{Dialect, SessionRecord, UnixMillis};

/// A session in the table.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) brief: Brief,
    pub(crate) tenant: TenantId,
    /// When its state last changed.
    pub(crate) since: UnixMillis,
}

/// The table.
#[derive(Debug, Default)]
pub(crate) struct Table(RwLock<BTreeMap<SessionId, Row>>);

impl Table {
    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<SessionId, Row>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<SessionId, Row>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a record in.
    pub(crate) fn put(&self, record: &SessionRecord) {
        let row = Row {
            brief: Brief::of(record),
            tenant: record.tenant.clone(),
            since: record.history.last().map_or(record.created_at, |event| event.at),
        };
        self.write().insert(record.id, row);
    }

    /// Forgets a session.
    pub(crate) fn remove(&self, id: SessionId) {
        self.write().remove(&id);
    }

    /// The sessions that are not among `there`.
    pub(crate) fn without(&self, there: &BTreeSet<SessionId>) -> Vec<SessionId> {
        self.read()
            .keys()
            .filter(|id| !there.contains(id))
            .copied()
            .collect()
    }

    /// A session.
    pub(crate) fn brief(&self, id: SessionId) -> Option<Brief> {
        self.read().get(&id).map(|row| row.brief.clone())
    }

    /// Rows that `wanted` picks.
    pub(crate) fn pick<T>(&self, wanted: impl Fn(&Row) -> Option<T>) -> Vec<T> {
        self.read().values().filter_map(wanted).collect()
    }

    /// The sessions on any of these drivers.
    pub(crate) fn on_drivers(&self, drivers: &BTreeSet<DriverId>) -> Vec<SessionId> {
        self.pick(|row| match &row.brief.at {
            At::On { driver, .. } if drivers.contains(driver) => Some(row.brief.id),
            At::On { .. } | At::Placing { .. } | At::Closed { .. } => None,
        })
    }

    /// Open sessions by tenant and dialect.
    pub(crate) fn count(&self) -> BTreeMap<(TenantId, Dialect), u64> {
        let mut counts = BTreeMap::new();
        for row in self.read().values() {
            if !matches!(row.brief.at, At::Closed { .. }) {
                *counts.entry((row.tenant.clone(), row.brief.dialect)).or_default() += 1;
            }
        }
        counts
    }
}
