//! The one thread that decides transactions and leases and writes them to disk.
//!
//! It takes what waits, decides each command against the state plus what the batch has changed so far, writes the
//! batch with one flush, publishes it, and only then answers.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use berth_runtime::clock::{boot_time, unix_millis};
use tokio::sync::{mpsc, oneshot, watch};

use super::check::check;
use super::disk::Disk;
use super::read;
use super::state::{Logged, State};
use crate::{Compare, Entry, LeaseId, Op, Revision, StoreError, Txn, TxnOutcome};

/// Commands decided between two flushes.
const BATCH: usize = 128;
/// How late a lease may be noticed to have ended.
const TICK: Duration = Duration::from_millis(100);

type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// What a caller wants.
#[derive(Debug)]
pub(super) enum Command {
    Txn { txn: Txn, reply: Reply<TxnOutcome> },
    Grant { ttl: Duration, reply: Reply<LeaseId> },
    Renew { lease: LeaseId, reply: Reply<()> },
    Revoke { lease: LeaseId, reply: Reply<()> },
}

/// An answer that waits for the flush.
type Answer = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

#[derive(Debug)]
struct Lease {
    ttl: Duration,
    ends_at: Duration,
}

/// The thread's own data.
pub(super) struct Writer {
    state: Arc<RwLock<State>>,
    publish: watch::Sender<Revision>,
    disk: Option<Disk>,
    leases: BTreeMap<LeaseId, Lease>,
    next_lease: i64,
}

/// Changes decided and not yet on disk.
#[derive(Default)]
struct Pending {
    logged: Vec<Logged>,
    overlay: BTreeMap<String, Option<Entry>>,
    answers: Vec<Answer>,
    ended: Vec<(LeaseId, Lease)>,
}

impl Writer {
    pub(super) fn new(
        state: Arc<RwLock<State>>,
        publish: watch::Sender<Revision>,
        disk: Option<Disk>,
    ) -> Self {
        // A lease id must not mean a lease of an earlier run.
        let next_lease = i64::try_from(unix_millis()).unwrap_or(1) << 10;
        Self {
            state,
            publish,
            disk,
            leases: BTreeMap::new(),
            next_lease,
        }
    }

    /// Serves until every sender of `queue` is gone.
    pub(super) fn run(mut self, mut queue: mpsc::Receiver<Command>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        let Ok(runtime) = runtime else {
            tracing::error!("the embedded store has no timer and stops");
            return;
        };
        loop {
            let mut batch = Vec::new();
            let received = runtime
                .block_on(async { tokio::time::timeout(TICK, queue.recv_many(&mut batch, BATCH)).await });
            if received == Ok(0) {
                return;
            }
            self.serve(batch);
        }
    }

    /// Removes what leases of earlier runs left behind. Before the first command.
    pub(super) fn end_earlier_leases(&mut self) {
        let mut pending = Pending::default();
        let keys = read(&self.state).leased_keys();
        self.apply(&mut pending, keys.into_iter().map(Op::Delete).collect());
        self.flush(pending);
    }

    fn serve(&mut self, batch: Vec<Command>) {
        let mut pending = Pending::default();
        self.expire(&mut pending);
        for command in batch {
            self.decide(command, &mut pending);
        }
        self.flush(pending);
    }

    fn decide(&mut self, command: Command, pending: &mut Pending) {
        match command {
            Command::Txn { txn, reply } => {
                let outcome = self.transact(pending, txn);
                answer(pending, reply, outcome);
            }
            Command::Grant { ttl, reply } => {
                self.next_lease += 1;
                let lease = LeaseId(self.next_lease);
                self.leases.insert(
                    lease,
                    Lease {
                        ttl,
                        ends_at: boot_time() + ttl,
                    },
                );
                answer(pending, reply, Ok(lease));
            }
            Command::Renew { lease, reply } => {
                let renewed = self.leases.get_mut(&lease).ok_or(StoreError::LeaseGone(lease));
                answer(
                    pending,
                    reply,
                    renewed.map(|lease| lease.ends_at = boot_time() + lease.ttl),
                );
            }
            Command::Revoke { lease, reply } => {
                self.end_lease(pending, lease);
                answer(pending, reply, Ok(()));
            }
        }
    }

    fn expire(&mut self, pending: &mut Pending) {
        let now = boot_time();
        let ended = self.leases.iter().filter(|(_, lease)| lease.ends_at <= now);
        for lease in ended.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.end_lease(pending, lease);
        }
    }

    fn end_lease(&mut self, pending: &mut Pending, lease: LeaseId) {
        let Some(ended) = self.leases.remove(&lease) else {
            return;
        };
        pending.ended.push((lease, ended));
        let keys = self.keys(pending, "", |entry| entry.lease == Some(lease));
        self.apply(pending, keys.into_iter().map(Op::Delete).collect());
    }

    fn transact(&mut self, pending: &mut Pending, txn: Txn) -> Result<TxnOutcome, StoreError> {
        check(&txn)?;
        if !txn.when.iter().all(|compare| self.holds(pending, compare)) {
            return Ok(TxnOutcome::Conflict(self.revision(pending)));
        }
        let mut leases = txn.then.iter().filter_map(|op| match op {
            Op::Put { lease, .. } => *lease,
            Op::Delete(_) | Op::DeletePrefix(_) => None,
        });
        if let Some(gone) = leases.find(|lease| !self.leases.contains_key(lease)) {
            return Err(StoreError::LeaseGone(gone));
        }
        Ok(TxnOutcome::Done(self.apply(pending, txn.then)))
    }

    fn holds(&self, pending: &Pending, compare: &Compare) -> bool {
        match compare {
            Compare::Absent(key) => self.entry(pending, key).is_none(),
            Compare::Present(key) => self.entry(pending, key).is_some(),
            Compare::ModRevision(key, revision) => self
                .entry(pending, key)
                .is_some_and(|entry| entry.mod_revision == *revision),
            Compare::CreateRevision(key, revision) => self
                .entry(pending, key)
                .is_some_and(|entry| entry.create_revision == *revision),
        }
    }

    fn entry(&self, pending: &Pending, key: &str) -> Option<Entry> {
        match pending.overlay.get(key) {
            Some(changed) => changed.clone(),
            None => read(&self.state).get(key).cloned(),
        }
    }

    fn revision(&self, pending: &Pending) -> Revision {
        pending
            .logged
            .last()
            .map_or_else(|| read(&self.state).revision(), |logged| logged.revision)
    }

    fn keys(&self, pending: &Pending, prefix: &str, wanted: impl Fn(&Entry) -> bool) -> Vec<String> {
        let mut keys: Vec<String> = read(&self.state).keys_with(prefix).cloned().collect();
        keys.extend(
            pending
                .overlay
                .keys()
                .filter(|key| key.starts_with(prefix))
                .cloned(),
        );
        keys.sort();
        keys.dedup();
        keys.retain(|key| self.entry(pending, key).is_some_and(|entry| wanted(&entry)));
        keys
    }

    /// Makes changes at one new revision; no revision is spent on changing nothing.
    fn apply(&self, pending: &mut Pending, ops: Vec<Op>) -> Revision {
        let revision = self.revision(pending) + 1;
        let mut changes = Vec::new();
        for op in ops {
            for (key, after) in self.expand(pending, op, revision) {
                let before = self.entry(pending, &key);
                if before.is_some() || after.is_some() {
                    pending.overlay.insert(key.clone(), after.clone());
                    changes.push((key, before, after));
                }
            }
        }
        if changes.is_empty() {
            return revision - 1;
        }
        pending.logged.push(Logged { revision, changes });
        revision
    }

    fn expand(&self, pending: &Pending, op: Op, revision: Revision) -> Vec<(String, Option<Entry>)> {
        match op {
            Op::Put { key, value, lease } => {
                let create_revision = self
                    .entry(pending, &key)
                    .map_or(revision, |entry| entry.create_revision);
                let entry = Entry {
                    key: key.clone(),
                    value,
                    create_revision,
                    mod_revision: revision,
                    lease,
                };
                vec![(key, Some(entry))]
            }
            Op::Delete(key) => vec![(key, None)],
            Op::DeletePrefix(prefix) => self
                .keys(pending, &prefix, |_| true)
                .into_iter()
                .map(|key| (key, None))
                .collect(),
        }
    }

    fn flush(&mut self, pending: Pending) {
        let written = match (&self.disk, pending.logged.last()) {
            (Some(disk), Some(last)) => disk.write(pending.overlay.iter(), last.revision),
            _ => Ok(()),
        };
        if written.is_ok() {
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            pending
                .logged
                .into_iter()
                .for_each(|logged| state.publish(logged));
            self.publish.send_replace(state.revision());
        } else {
            // Their keys are still there: they end with the next batch that can be written.
            self.leases.extend(pending.ended);
        }
        for reply in pending.answers {
            reply(written.clone());
        }
    }
}

fn answer<T: Send + 'static>(pending: &mut Pending, reply: Reply<T>, outcome: Result<T, StoreError>) {
    pending.answers.push(Box::new(move |written| {
        // A caller that has gone needs no answer.
        let _gone = reply.send(written.and(outcome));
    }));
}
