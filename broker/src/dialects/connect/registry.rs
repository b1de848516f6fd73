//! The operations that this broker runs or keeps for their clients.
//!
//! An operation stays here from its ExecutePlan until its client releases it, or nobody has attached to it for the
//! detached timeout. A bounded number of ids is remembered after that, so that a late call gets a true answer.
//!
//! Some clients never release: Go's, and Rust's. Their results give way to new operations, the longest kept first.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use berth_core::connect::Standing;
use berth_core::ids::SessionId;

use super::operation::Operation;
use super::outbox::Kept;

/// How many released or abandoned operation ids are remembered. Spark remembers as many.
const MAX_TOMBSTONES: usize = 10_000;
/// Bytes that the results of one session may keep together after they were sent. One result keeps 10 MiB, so the last
/// few of a client whose connection breaks are there, whatever it does.
const MAX_KEPT_BYTES: usize = 64 << 20;

/// Name of an operation: ids are chosen by clients and mean something within their session only.
pub(crate) type Key = (SessionId, String);

/// What was found for an operation id.
#[derive(Debug, Clone)]
pub(crate) enum Found {
    /// It is here.
    Live(Arc<Operation>),
    /// It was released or abandoned.
    Gone,
    /// Nothing is known here; another broker may know it.
    Unknown,
}

/// What became of an attempt to enter an operation.
#[derive(Debug)]
pub(crate) enum Entered {
    /// It is new, and its task must be started.
    New,
    /// An operation with this id is here already.
    Exists(Arc<Operation>),
    /// The id was used before and its operation is gone.
    Gone,
    /// The session has too many operations.
    Full,
}

/// The operations of this broker.
#[derive(Debug)]
pub(crate) struct Operations {
    max_per_session: usize,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    live: HashMap<SessionId, HashMap<String, Arc<Operation>>>,
    gone: HashMap<Key, u64>,
    gone_in_order: VecDeque<(u64, Key)>,
    next_gone: u64,
}

impl Operations {
    pub(crate) fn new(max_per_session: usize) -> Self {
        Self {
            max_per_session,
            inner: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks an operation up.
    pub(crate) fn find(&self, session: SessionId, operation: &str) -> Found {
        let key = (session, operation.to_owned());
        let inner = self.lock();
        match inner.get(&key) {
            Some(operation) => Found::Live(Arc::clone(operation)),
            None if inner.gone.contains_key(&key) => Found::Gone,
            None => Found::Unknown,
        }
    }

    /// Enters a new operation, unless its id is taken.
    pub(crate) fn enter(&self, operation: &Arc<Operation>) -> Entered {
        let key = operation.key();
        let mut inner = self.lock();
        if let Some(there) = inner.get(&key) {
            return Entered::Exists(Arc::clone(there));
        }
        if inner.gone.contains_key(&key) {
            return Entered::Gone;
        }
        inner.make_room(key.0, self.max_per_session);
        let of_session = inner.live.entry(key.0).or_default();
        if of_session.len() >= self.max_per_session {
            return Entered::Full;
        }
        of_session.insert(key.1, Arc::clone(operation));
        Entered::New
    }

    /// Takes an operation out and remembers its id.
    pub(crate) fn remove(&self, session: SessionId, operation: &str) -> Option<Arc<Operation>> {
        let key = (session, operation.to_owned());
        let mut inner = self.lock();
        let removed = inner.take(&key)?;
        inner.bury(key);
        Some(removed)
    }

    /// Takes an operation out that is another broker's now, without remembering it.
    pub(crate) fn hand_over(&self, operation: &Arc<Operation>) {
        let key = operation.key();
        let mut inner = self.lock();
        if inner.get(&key).is_some_and(|there| Arc::ptr_eq(there, operation)) {
            inner.take(&key);
        }
    }

    /// Takes out all operations of a session that has ended.
    pub(crate) fn remove_session(&self, session: SessionId) -> Vec<Arc<Operation>> {
        let removed = self.lock().live.remove(&session).unwrap_or_default();
        removed.into_values().collect()
    }

    /// The operations of a session.
    pub(crate) fn of_session(&self, session: SessionId) -> Vec<Arc<Operation>> {
        let inner = self.lock();
        let of_session = inner.live.get(&session).into_iter().flat_map(HashMap::values);
        of_session.map(Arc::clone).collect()
    }

    /// The operations of a session that carry the events of streaming queries.
    pub(crate) fn open_events(&self, session: SessionId) -> Vec<Arc<Operation>> {
        let mut open = self.of_session(session);
        open.retain(|operation| operation.standing == Standing::OpensEvents);
        open
    }

    /// The sessions with an operation that needs its driver.
    pub(crate) fn sessions_in_use(&self) -> Vec<SessionId> {
        let inner = self.lock();
        let in_use = inner
            .live
            .iter()
            .filter(|(_, operations)| operations.values().any(|operation| operation.needs_driver()));
        in_use.map(|(session, _)| *session).collect()
    }

    /// Takes out the operations that nobody has attached to for `timeout`.
    pub(crate) fn remove_abandoned(&self, timeout: Duration) -> Vec<Arc<Operation>> {
        let is_abandoned = |operation: &Arc<Operation>| {
            operation
                .outbox
                .detached_for()
                .is_some_and(|alone| alone >= timeout)
        };
        let abandoned: Vec<_> = self
            .lock()
            .live
            .values()
            .flat_map(HashMap::values)
            .filter(|o| is_abandoned(o))
            .cloned()
            .collect();
        for operation in &abandoned {
            self.remove(operation.session, &operation.id);
        }
        abandoned
    }

    /// How many operations are here.
    pub(crate) fn len(&self) -> usize {
        self.lock().live.values().map(HashMap::len).sum()
    }
}

impl Inner {
    fn get(&self, (session, operation): &Key) -> Option<&Arc<Operation>> {
        self.live.get(session)?.get(operation)
    }

    fn take(&mut self, (session, operation): &Key) -> Option<Arc<Operation>> {
        let of_session = self.live.get_mut(session)?;
        let taken = of_session.remove(operation);
        if of_session.is_empty() {
            self.live.remove(session);
        }
        taken
    }

    /// Gives up results of a session that were sent to their ends, until one more operation has room.
    fn make_room(&mut self, session: SessionId, most: usize) {
        let Some(of_session) = self.live.get(&session) else {
            return;
        };
        let kept = |operation: &Arc<Operation>| Some((operation.outbox.kept()?, operation.key()));
        let mut sent: Vec<(Kept, Key)> = of_session.values().filter_map(kept).collect();
        let mut count = of_session.len();
        let mut bytes: usize = sent.iter().map(|(kept, _)| kept.bytes).sum();
        if count < most && bytes <= MAX_KEPT_BYTES {
            return;
        }
        sent.sort_unstable_by_key(|(kept, _)| kept.since);
        for (kept, key) in sent {
            if count < most && bytes <= MAX_KEPT_BYTES {
                return;
            }
            count -= 1;
            bytes -= kept.bytes;
            if let Some(operation) = self.take(&key) {
                operation.outbox.release_all();
                self.bury(key);
            }
        }
    }

    fn bury(&mut self, key: Key) {
        self.next_gone += 1;
        self.gone.insert(key.clone(), self.next_gone);
        self.gone_in_order.push_back((self.next_gone, key));
        while self.gone_in_order.len() > MAX_TOMBSTONES {
            if let Some((number, key)) = self.gone_in_order.pop_front()
                && self.gone.get(&key) == Some(&number)
            {
                self.gone.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests;
