//! The operations that this broker runs or keeps for their clients.
//!
//! An operation stays here from its ExecutePlan until its client releases it, or nobody has attached to it for the
//! detached timeout. A bounded number of ids is remembered after that, so that a late call gets a true answer.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use berth_core::ids::SessionId;

use super::operation::Operation;

/// How many released or abandoned operation ids are remembered. Spark remembers as many.
const MAX_TOMBSTONES: usize = 10_000;

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
    live: HashMap<Key, Arc<Operation>>,
    per_session: HashMap<SessionId, usize>,
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
        match inner.live.get(&key) {
            Some(operation) => Found::Live(Arc::clone(operation)),
            None if inner.gone.contains_key(&key) => Found::Gone,
            None => Found::Unknown,
        }
    }

    /// Enters a new operation, unless its id is taken.
    pub(crate) fn enter(&self, operation: &Arc<Operation>) -> Entered {
        let key = operation.key();
        let mut inner = self.lock();
        if let Some(there) = inner.live.get(&key) {
            return Entered::Exists(Arc::clone(there));
        }
        if inner.gone.contains_key(&key) {
            return Entered::Gone;
        }
        let count = inner.per_session.entry(key.0).or_default();
        if *count >= self.max_per_session {
            return Entered::Full;
        }
        *count += 1;
        inner.live.insert(key, Arc::clone(operation));
        Entered::New
    }

    /// Takes an operation out and remembers its id.
    pub(crate) fn remove(&self, session: SessionId, operation: &str) -> Option<Arc<Operation>> {
        let key = (session, operation.to_owned());
        let mut inner = self.lock();
        let removed = inner.live.remove(&key)?;
        inner.forget_one_of(session);
        inner.bury(key);
        Some(removed)
    }

    /// Takes an operation out that is another broker's now, without remembering it.
    pub(crate) fn hand_over(&self, operation: &Arc<Operation>) {
        let key = operation.key();
        let mut inner = self.lock();
        let is_this = inner
            .live
            .get(&key)
            .is_some_and(|there| Arc::ptr_eq(there, operation));
        if is_this {
            inner.live.remove(&key);
            inner.forget_one_of(key.0);
        }
    }

    /// Takes out all operations of a session that has ended.
    pub(crate) fn remove_session(&self, session: SessionId) -> Vec<Arc<Operation>> {
        let mut inner = self.lock();
        let removed = inner
            .live
            .extract_if(|key, _| key.0 == session)
            .map(|(_, operation)| operation);
        let removed: Vec<_> = removed.collect();
        inner.per_session.remove(&session);
        removed
    }

    /// The operations of a session.
    pub(crate) fn of_session(&self, session: SessionId) -> Vec<Arc<Operation>> {
        let inner = self.lock();
        let of_session = inner.live.iter().filter(|(key, _)| key.0 == session);
        of_session.map(|(_, operation)| Arc::clone(operation)).collect()
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
        self.lock().live.len()
    }
}

impl Inner {
    fn forget_one_of(&mut self, session: SessionId) {
        if let Some(count) = self.per_session.get_mut(&session) {
            *count -= 1;
            if *count == 0 {
                self.per_session.remove(&session);
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
