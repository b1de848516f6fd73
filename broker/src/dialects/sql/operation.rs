//! One operation: a statement or a question about the catalog, from its call to its close.
//!
//! ```text
//! Pending --> Running --> Finished (its rows may be fetched; of a large result more may still be coming)
//!     \          |            |
//!      +---------+------------+--> Failed, Canceled, TimedOut
//! ```
//!
//! A query is finished for its client when its rows are here, or as many of them as are kept in memory: a client that
//! waits can be told how far it is, and cancel it; one that fetches can do neither on the same connection. What follows
//! is kept until it is fetched, and an error in it is the answer to the fetch that gets there.

mod run;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arrow_schema::SchemaRef;
use berth_runtime::clock::unix_millis;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub(super) use self::run::Work;
use super::aside::Aside;
use super::buffer::Buffer;
use super::cursor::{Cursor, Orientation, Page};
use super::failure::Failure;
use super::log::Log;
use super::plan::Progress;
use crate::dialects::connect::inside::Inside;

/// How long a client that polls may take to ask again.
const POLLED_WITHIN: Duration = Duration::from_secs(5);

/// What an operation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Statement,
    TypeInfo,
    Catalogs,
    Schemas,
    Tables,
    TableTypes,
    Columns,
    Functions,
    PrimaryKeys,
    CrossReference,
}

/// Where an operation is in its life.
#[derive(Debug, Clone)]
pub(crate) enum State {
    /// It waits for the session's driver.
    Pending,
    /// It runs.
    Running,
    /// Its rows can be fetched.
    Finished(SchemaRef),
    /// It was asked to stop.
    Canceled,
    /// It ran for too long.
    TimedOut,
    /// It failed.
    Failed(Failure),
}

impl State {
    /// True when nothing follows by itself.
    pub(crate) const fn is_settled(&self) -> bool {
        !matches!(self, Self::Pending | Self::Running)
    }

    /// Its name, as Hive has it.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Running => "RUNNING",
            Self::Finished(_) => "FINISHED",
            Self::Canceled => "CANCELED",
            Self::TimedOut => "TIMEDOUT",
            Self::Failed(_) => "ERROR",
        }
    }
}

/// An operation.
#[derive(Debug)]
pub(crate) struct Operation {
    /// Its id, under which Spark Connect knows it too.
    pub(crate) id: Uuid,
    /// Its session.
    pub(crate) session: Uuid,
    /// What it is.
    pub(crate) kind: Kind,
    /// When it began, in milliseconds since 1970.
    pub(crate) started_at: u64,
    inside: Inside,
    /// Its own session, if it has one, until its result is read.
    aside: Mutex<Option<Arc<Aside>>>,
    state: watch::Sender<State>,
    moments: Mutex<Moments>,
    log: Mutex<Log>,
    progress: Mutex<Progress>,
    buffer: Buffer,
    cursor: tokio::sync::Mutex<Cursor>,
    stop: CancellationToken,
}

#[derive(Debug)]
struct Moments {
    completed_at: Option<u64>,
    used_at: Instant,
}

impl Operation {
    pub(super) fn new(
        id: Uuid,
        session: Uuid,
        kind: Kind,
        inside: Inside,
        aside: Option<Arc<Aside>>,
        buffer: Buffer,
    ) -> Arc<Self> {
        let inside = aside.as_ref().map_or(inside, |aside| aside.own.clone());
        Arc::new(Self {
            id,
            session,
            kind,
            started_at: unix_millis(),
            inside,
            aside: Mutex::new(aside),
            state: watch::Sender::new(State::Pending),
            moments: Mutex::new(Moments {
                completed_at: None,
                used_at: Instant::now(),
            }),
            log: Mutex::default(),
            progress: Mutex::default(),
            buffer,
            cursor: tokio::sync::Mutex::default(),
            stop: CancellationToken::new(),
        })
    }

    /// Where it is now.
    pub(crate) fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// Where it is once it is settled, or when `patience` is over.
    pub(crate) async fn settled(&self, patience: Duration) -> State {
        // Nothing is told but the time: what `ended` tells is read anew.
        let _in_time = tokio::time::timeout(patience, self.ended()).await;
        self.state()
    }

    /// Where it is once it is settled.
    pub(crate) async fn ended(&self) -> State {
        let mut watched = self.state.subscribe();
        // What is waited for comes with a lock on the state, which has to be gone before anybody takes it again.
        let settled = watched.wait_for(State::is_settled).await.map(drop);
        debug_assert!(settled.is_ok(), "the sender lives as long as the operation");
        self.state()
    }

    /// When it was settled, in milliseconds since 1970.
    pub(crate) fn completed_at(&self) -> Option<u64> {
        lock(&self.moments).completed_at
    }

    /// How far it is.
    pub(crate) fn progress(&self) -> Progress {
        *lock(&self.progress)
    }

    /// Adds a line to its log.
    pub(crate) fn note(&self, line: &str) {
        lock(&self.log).add(line);
    }

    /// The next lines of its log; from the start again with `rewind`.
    pub(crate) fn log(&self, rewind: bool, most: usize) -> Vec<String> {
        lock(&self.log).read(rewind, most)
    }

    /// Notes that its client asked for it.
    pub(super) fn touch(&self) {
        lock(&self.moments).used_at = Instant::now();
    }

    /// For how long nobody asked for it.
    pub(super) fn unused(&self) -> Duration {
        if self.is_fetched() {
            return Duration::ZERO;
        }
        lock(&self.moments).used_at.elapsed()
    }

    /// True while it runs, its client has rows to read, or may be about to ask what became of it.
    pub(super) fn is_awaited(&self) -> bool {
        let is_over = match self.state() {
            State::Finished(_) => self.buffer.is_read(),
            other => other.is_settled(),
        };
        !is_over || self.unused() < POLLED_WITHIN
    }

    /// True while a client waits for rows.
    pub(super) fn is_fetched(&self) -> bool {
        self.cursor.try_lock().is_err()
    }

    /// Some rows: at most so many, and about so many bytes. An error in the result comes after the rows before it.
    ///
    /// # Errors
    /// It is not finished, or its statement failed on the way.
    pub(crate) async fn fetch(
        &self,
        orientation: Orientation,
        rows: usize,
        bytes: usize,
    ) -> Result<Page, Failure> {
        match self.state() {
            State::Finished(_) => {}
            State::Failed(failure) => return Err(failure),
            other => {
                return Err(Failure::invalid(format!(
                    "Expected state FINISHED, but found {}; wait until the operation is finished",
                    other.name()
                )));
            }
        }
        let mut cursor = self.cursor.lock().await;
        let fetched = cursor.page(&self.buffer, orientation, rows, bytes).await;
        self.touch();
        if let Err(failure) = &fetched
            && !failure.is_of_place()
        {
            self.note(&format!("ERROR {failure}"));
            self.state.send_replace(State::Failed(failure.clone()));
        }
        fetched
    }

    /// Asks it to stop. It is canceled at once, whatever its driver does; of one that is finished, the rows end with
    /// what was taken from the driver.
    pub(crate) fn cancel(&self) {
        if self.settle(State::Canceled) || self.buffer.finish(Err(Failure::canceled())) {
            self.stop.cancel();
        }
    }

    /// Forgets it, and stops it if it still runs.
    pub(super) fn close(&self) {
        self.cancel();
    }

    /// Lets go of its own session: nothing is to come from it.
    fn give_back(&self) {
        lock(&self.aside).take();
    }

    /// Notes where it is now, unless it is settled. Answers true if that settles it.
    fn settle(&self, state: State) -> bool {
        let mut from = "";
        let settles = state.is_settled();
        let name = state.name();
        let changed = self.state.send_if_modified(|current| {
            if current.is_settled() {
                return false;
            }
            from = current.name();
            *current = state;
            true
        });
        if changed {
            self.note(&format!("INFO {} -> {name} [{}]", from, self.id));
        }
        if changed && settles {
            let mut moments = lock(&self.moments);
            moments.completed_at = Some(unix_millis());
            // Until now its client may have waited for it.
            moments.used_at = Instant::now();
        }
        changed && settles
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
