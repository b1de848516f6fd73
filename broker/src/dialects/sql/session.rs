//! One session of a SQL dialect, as this broker serves it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arrow_array::RecordBatch;
use berth_core::record::{Dialect, SessionRecord};
use tokio::sync::OnceCell;
use tokio::time::Instant;
use uuid::Uuid;

use super::failure::Failure;
use super::opening::Opening;
use super::operation::Operation;
use super::{Origin, plan, whole};
use crate::dialects::connect::inside::Inside;

/// How long a session that was found to be open is taken for it, as long as nothing is heard.
const LOOK_HOLDS: Duration = Duration::from_secs(1);
/// How long a look may take: while the store is away, sessions go on with what is here.
const LOOK_DEADLINE: Duration = Duration::from_secs(1);

/// A session.
#[derive(Debug)]
pub(crate) struct Session {
    /// Its id, under which Spark Connect knows it too.
    pub(crate) id: Uuid,
    /// Who opened it, and may use it.
    pub(crate) opened_by: String,
    pub(super) dialect: Dialect,
    /// True once other brokers can find it.
    shared: AtomicBool,
    /// The version of its client's protocol, a number of the dialect.
    pub(crate) protocol: i32,
    /// What it was opened with.
    pub(crate) opening: Opening,
    pub(crate) inside: Inside,
    /// Where it began, once it has.
    ready: OnceCell<String>,
    /// True once its client was told of that.
    is_told: AtomicBool,
    /// Why it was not ready when that was last tried.
    failure: Mutex<Option<Failure>>,
    /// How many operations it has had here.
    begun: AtomicUsize,
    operations: Mutex<BTreeMap<Uuid, Arc<Operation>>>,
    used_at: Mutex<Instant>,
    /// When it was last found to be open, whoever may have ended it.
    looked: Mutex<Option<Look>>,
}

/// A session was found to be open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Look {
    at: Instant,
    /// True if this broker served it then. When that changes something has happened to it.
    was_served: bool,
}

impl Look {
    /// True as long as nobody has to look again.
    fn holds(self, is_served: bool) -> bool {
        self.was_served == is_served && self.at.elapsed() < LOOK_HOLDS
    }
}

impl Session {
    pub(super) fn new(origin: Origin, opening: Opening, inside: Inside) -> Arc<Self> {
        Arc::new(Self {
            id: origin.id,
            opened_by: origin.opened_by,
            dialect: origin.dialect,
            shared: AtomicBool::new(origin.dialect == Dialect::Kyuubi),
            protocol: origin.protocol,
            opening,
            inside,
            ready: OnceCell::new(),
            is_told: AtomicBool::new(false),
            failure: Mutex::default(),
            begun: AtomicUsize::new(0),
            operations: Mutex::default(),
            used_at: Mutex::new(Instant::now()),
            looked: Mutex::default(),
        })
    }

    /// Waits until the session is where its client wants to begin.
    ///
    /// # Errors
    /// It has no driver, or a statement of its beginning failed; the next call tries again.
    pub(crate) async fn ready(&self) -> Result<(), Failure> {
        let prepared = self.ready.get_or_try_init(|| async {
            let record = self.inside.open().await?;
            for step in self.opening.statements() {
                match self.whole(&plan::sql(&step.text)).await {
                    Err(failure) if step.may_miss && failure.is_of_what_is_gone() => {}
                    done => drop(done?),
                }
            }
            Ok::<_, Failure>(place(&record))
        });
        let prepared = prepared.await.map(drop);
        lock(&self.failure).clone_from(&prepared.as_ref().err().cloned());
        prepared
    }

    /// Why it has no driver, or is not where its client wants to begin, if that was so when it was last tried.
    pub(crate) fn failure(&self) -> Option<Failure> {
        lock(&self.failure).clone()
    }

    /// How many operations it has had here, those that are closed included.
    pub(crate) fn begun(&self) -> usize {
        self.begun.load(Ordering::Relaxed)
    }

    /// The same, and tells `note` what is waited for and, for the first that asks, how the session came to where it is.
    ///
    /// # Errors
    /// Those of [`Session::ready`].
    pub(super) async fn ready_aloud(&self, note: impl Fn(&str)) -> Result<(), Failure> {
        if !self.ready.initialized() {
            note("INFO waiting for the session's driver");
        }
        self.ready().await?;
        if let Some(place) = self.ready.get()
            && !self.is_told.swap(true, Ordering::Relaxed)
        {
            note(&format!("INFO {place}"));
        }
        Ok(())
    }

    /// True if other brokers may serve it at the same time.
    pub(crate) fn is_shared(&self) -> bool {
        self.shared.load(Ordering::Acquire)
    }

    /// From now on other brokers may.
    pub(crate) fn share(&self) {
        self.shared.store(true, Ordering::Release);
    }

    /// True if it has ended, maybe at another broker, which `look` finds out. It is not asked of a session that only
    /// this broker ends while it serves it, nor within a second, unless the session has moved meanwhile.
    pub(crate) async fn looks_over<E>(&self, look: impl Future<Output = Result<bool, E>>) -> bool {
        let was_served = self.inside.is_served();
        let holds = lock(&self.looked).is_some_and(|look| look.holds(was_served));
        if holds || (was_served && !self.is_shared()) {
            return false;
        }
        if let Ok(Ok(true)) = tokio::time::timeout(LOOK_DEADLINE, look).await {
            return true;
        }
        let at = Instant::now();
        *lock(&self.looked) = Some(Look { at, was_served });
        false
    }

    /// True if it was open and its record says that it is over.
    pub(crate) async fn is_over(&self) -> bool {
        self.looks_over(self.inside.is_over()).await
    }

    /// Everything that a plan answers.
    ///
    /// # Errors
    /// The plan's own, or more rows than are taken at once.
    pub(super) async fn whole(&self, plan: &[u8]) -> Result<Vec<RecordBatch>, Failure> {
        whole::answer(&self.inside, plan).await
    }

    /// Notes a call of its client.
    pub(super) fn touch(&self) {
        *lock(&self.used_at) = Instant::now();
        // Its driver does not see calls that are answered here.
        self.inside.touch();
    }

    /// For how long its client has been quiet with nothing running.
    pub(crate) fn idle(&self) -> Duration {
        let operations = lock(&self.operations);
        if operations
            .values()
            .any(|operation| !operation.state().is_settled())
        {
            return Duration::ZERO;
        }
        // A call that waited for a statement was made when that began.
        let unused = operations.values().map(|operation| operation.unused()).min();
        drop(operations);
        let uncalled = lock(&self.used_at).elapsed();
        unused.map_or(uncalled, |unused| unused.min(uncalled))
    }

    /// True while a client has a use for an operation of it.
    pub(super) fn is_awaited(&self) -> bool {
        lock(&self.operations)
            .values()
            .any(|operation| operation.is_awaited())
    }

    /// Enters an operation. One that is settled and longest unused gives way if there are `most` already.
    ///
    /// # Errors
    /// All of them run.
    pub(super) fn enter(
        &self,
        operation: &Arc<Operation>,
        most: usize,
    ) -> Result<Option<Arc<Operation>>, Failure> {
        let mut operations = lock(&self.operations);
        let mut gone = None;
        if operations.len() >= most {
            let settled = operations
                .values()
                .filter(|operation| operation.state().is_settled());
            let oldest = settled
                .max_by_key(|operation| operation.unused())
                .map(|oldest| oldest.id);
            let full = || {
                Failure::new(
                    "53000",
                    format!("this session runs {most} operations already; wait for one, or close some"),
                )
            };
            gone = operations.remove(&oldest.ok_or_else(full)?);
        }
        operations.insert(operation.id, Arc::clone(operation));
        self.begun.fetch_add(1, Ordering::Relaxed);
        Ok(gone)
    }

    /// One of its operations.
    pub(super) fn operation(&self, id: Uuid) -> Option<Arc<Operation>> {
        lock(&self.operations).get(&id).cloned()
    }

    /// Takes an operation out.
    pub(super) fn take(&self, id: Uuid) -> Option<Arc<Operation>> {
        lock(&self.operations).remove(&id)
    }

    /// Takes out what nobody has asked for within `limit`.
    pub(super) fn take_unused(&self, limit: Duration) -> Vec<Arc<Operation>> {
        let is_unused =
            |operation: &Arc<Operation>| operation.state().is_settled() && operation.unused() >= limit;
        let mut operations = lock(&self.operations);
        let unused: Vec<_> = operations.values().filter(|o| is_unused(o)).cloned().collect();
        for operation in &unused {
            operations.remove(&operation.id);
        }
        unused
    }

    /// Takes all operations out.
    pub(super) fn take_all(&self) -> Vec<Arc<Operation>> {
        std::mem::take(&mut *lock(&self.operations))
            .into_values()
            .collect()
    }
}

/// How a session came to where it is, for a person.
fn place(record: &SessionRecord) -> String {
    let latest = record.history.last().map(|event| event.what.as_str());
    latest.unwrap_or("placed").to_owned()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_session_is_looked_for_again_after_a_second_or_once_it_has_moved() {
        let look = Look {
            at: Instant::now(),
            was_served: true,
        };
        tokio::time::advance(LOOK_HOLDS / 2).await;
        assert!(look.holds(true));
        assert!(!look.holds(false), "it is not served any more: it may be over");
        tokio::time::advance(LOOK_HOLDS).await;
        assert!(!look.holds(true));
    }
}
