//! The lease on disk: how a restarted agent goes on as the same incarnation.

use std::path::Path;
use std::time::Duration;

use berth_core::ids::NodeIncarnation;
use berth_core::keys;
use berth_core::record::{NodeRecord, Record};
use berth_runtime::clock::boot_time;
use berth_store::{Compare, LeaseId, StoreError, StoreRef, Txn, TxnOutcome};
use serde::{Deserialize, Serialize};

use super::{PAUSE, sure_until};
use crate::AgentError;
use crate::files::{Durable, replace};

const FORMAT: u16 = 1;

#[derive(Debug, Serialize, Deserialize)]
struct Saved {
    format: u16,
    lease: i64,
    incarnation: NodeIncarnation,
    /// Changes with each boot of the machine: no driver outlives it.
    boot: String,
}

/// Writes down what is held.
pub(super) fn save(path: &Path, lease: LeaseId, incarnation: NodeIncarnation) -> std::io::Result<()> {
    let saved = Saved {
        format: FORMAT,
        lease: lease.0,
        incarnation,
        boot: boot_id(),
    };
    replace(path, &serde_json::to_vec(&saved)?, Durable::Process)
}

/// Renews the lease of the earlier run and puts `record` in its place, under its incarnation. `None` when it is not
/// held any more.
pub(super) async fn resume(
    store: &StoreRef,
    ttl: Duration,
    path: &Path,
    record: &mut NodeRecord,
) -> Result<Option<(LeaseId, Duration)>, AgentError> {
    let Some(saved) = read(path) else { return Ok(None) };
    let lease = LeaseId(saved.lease);
    let deadline = boot_time() + ttl;
    let sent = loop {
        let sent = boot_time();
        match store.renew(lease).await {
            Ok(()) => break sent,
            Err(StoreError::LeaseGone(_)) => return Ok(None),
            // The drivers go on until their deadline; so may the agent try until then.
            Err(error) if error.is_transient() && boot_time() < deadline => tokio::time::sleep(PAUSE).await,
            Err(error) => return Err(error.into()),
        }
    };
    if take_over(store, lease, saved.incarnation, record).await? {
        return Ok(Some((lease, sure_until(sent, ttl))));
    }
    store.revoke(lease).await?;
    Ok(None)
}

async fn take_over(
    store: &StoreRef,
    lease: LeaseId,
    incarnation: NodeIncarnation,
    record: &mut NodeRecord,
) -> Result<bool, AgentError> {
    let key = keys::node(&record.id);
    let Some(entry) = store.get(&key).await? else {
        return Ok(false);
    };
    let ours = |found: &NodeRecord| found.incarnation == incarnation && entry.lease == Some(lease);
    let Some(found) = NodeRecord::decode(&key, &entry.value).ok().filter(ours) else {
        return Ok(false);
    };
    let mut next = record.clone();
    next.incarnation = incarnation;
    next.draining = found.draining;
    let put = Txn::new()
        .when(Compare::ModRevision(key.clone(), entry.mod_revision))
        .put_leased(key, next.encode(), lease);
    let done = matches!(store.txn(put).await?, TxnOutcome::Done(_));
    if done {
        *record = next;
    }
    Ok(done)
}

fn read(path: &Path) -> Option<Saved> {
    let saved: Saved = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
    (saved.format == FORMAT && saved.boot == boot_id()).then_some(saved)
}

fn boot_id() -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    id.map(|id| id.trim().to_owned()).unwrap_or_default()
}
