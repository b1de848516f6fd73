//! One operation: a statement or a question about the catalog, from its call to its close.
//!
//! ```text
//! Pending --> Running --> Finished (its rows may be fetched, and more of them may still be coming)
//!     \          |            |
//!      +---------+------------+--> Failed, Canceled, TimedOut
//! ```
//!
//! A query is finished for its client when its first rows are there: what follows is pulled as it is fetched, and an
//! error in it is the answer to that fetch.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use berth_runtime::clock::unix_millis;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::aside::Aside;
use super::cursor::{Cursor, Orientation, Page, Pulled, Room};
use super::failure::Failure;
use super::log::Log;
use super::plan::Progress;
use crate::dialects::connect::inside::Inside;

/// How long a driver may take to take note of a cancel.
const INTERRUPT_DEADLINE: Duration = Duration::from_secs(10);
/// When a driver is asked again.
const INTERRUPT_AGAIN: Duration = Duration::from_secs(1);
/// How long a statement that was asked to stop may go on before it is forgotten.
const STOP_DEADLINE: Duration = Duration::from_secs(60);

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

/// What is run.
#[derive(Debug)]
pub(super) enum Work {
    /// A plan, whose rows are the result.
    Plan(Vec<u8>),
    /// A table that is there already.
    Table(SchemaRef, RecordBatch),
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
        let mut watched = self.state.subscribe();
        // Only its end, which ends the waiting too, can be an error here.
        let _settled = tokio::time::timeout(patience, watched.wait_for(State::is_settled)).await;
        self.state()
    }

    /// Where it is once it is settled.
    pub(crate) async fn ended(&self) -> State {
        let mut watched = self.state.subscribe();
        let _settled = watched.wait_for(State::is_settled).await;
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
        lock(&self.moments).used_at.elapsed()
    }

    /// Some rows.
    ///
    /// # Errors
    /// It is not finished, or its statement failed on the way.
    pub(crate) async fn fetch(
        &self,
        orientation: Orientation,
        rows: usize,
        room: Room,
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
        let fetched = cursor.page(orientation, rows, room).await;
        if cursor.is_over() {
            self.give_back();
        }
        if let Err(failure) = &fetched
            && failure.sql_state != "HY109"
        {
            self.note(&format!("ERROR {failure}"));
            self.state.send_replace(State::Failed(failure.clone()));
        }
        fetched
    }

    /// Asks it to stop. It is canceled at once, whatever its driver does.
    pub(crate) fn cancel(&self) {
        if self.settle(State::Canceled) {
            self.stop.cancel();
        } else if matches!(self.state(), State::Finished(_)) && self.cursor.try_lock().is_err() {
            // Somebody waits for rows that nobody wants any more.
            self.inside.release(self.id);
        }
    }

    /// Forgets it, and stops it if it still runs.
    pub(super) fn close(&self) {
        if self.settle(State::Canceled) {
            self.stop.cancel();
        } else if !self.stop.is_cancelled() {
            // One that is being stopped is forgotten when it has stopped.
            self.inside.release(self.id);
            self.give_back();
        }
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
            lock(&self.moments).completed_at = Some(unix_millis());
        }
        changed && settles
    }

    /// Runs it up to its first rows. `ready` waits for the session's driver.
    pub(super) async fn run(
        self: Arc<Self>,
        ready: impl Future<Output = Result<(), Failure>>,
        work: impl Future<Output = Result<Work, Failure>>,
        limit: Option<Duration>,
    ) {
        let worked = async {
            ready.await?;
            self.settle(State::Running);
            self.work(work.await?).await
        };
        let late = async {
            match limit {
                Some(limit) => tokio::time::sleep(limit).await,
                None => std::future::pending().await,
            }
        };
        let settled = tokio::select! {
            worked = worked => match worked {
                Ok(schema) => State::Finished(schema),
                Err(failure) => {
                    self.note(&format!("ERROR {failure}"));
                    State::Failed(failure)
                }
            },
            () = self.stop.cancelled() => State::Canceled,
            () = late => State::TimedOut,
        };
        let stops = matches!(settled, State::Canceled | State::TimedOut);
        self.settle(settled);
        if stops || self.stop.is_cancelled() {
            self.stop.cancel();
            self.stop_driver().await;
            self.give_back();
        } else if self.cursor.lock().await.is_over() {
            self.give_back();
        }
    }

    async fn work(&self, work: Work) -> Result<SchemaRef, Failure> {
        let mut cursor = self.cursor.lock().await;
        match work {
            Work::Table(schema, rows) => *cursor = Cursor::of(schema, rows),
            Work::Plan(plan) => {
                *cursor = Cursor::over(self.inside.execute(self.id, &plan).await?);
                loop {
                    match cursor.pull().await? {
                        Pulled::Rows | Pulled::End => break,
                        Pulled::Progress(progress) => self.advance(progress),
                        Pulled::Nothing => {}
                    }
                }
            }
        }
        Ok(cursor.schema())
    }

    fn advance(&self, progress: Progress) {
        let before = std::mem::replace(&mut *lock(&self.progress), progress);
        if before != progress && progress.tasks > 0 {
            self.note(&format!(
                "INFO {} of {} tasks done in {} stages, {} of them complete",
                progress.done_tasks, progress.tasks, progress.stages, progress.done_stages
            ));
        }
    }

    /// Has the driver stop, and waits for it: what became of a write is written down at its end.
    async fn stop_driver(&self) {
        let over = async {
            let mut cursor = self.cursor.lock().await;
            while !matches!(cursor.pull().await, Ok(Pulled::End) | Err(_)) {}
        };
        // A driver does not hear it of what it is just about to begin.
        let asked = async {
            loop {
                let interrupt = self.inside.interrupt(self.id);
                if !matches!(
                    tokio::time::timeout(INTERRUPT_DEADLINE, interrupt).await,
                    Ok(Ok(()))
                ) {
                    tracing::debug!(operation = %self.id, "a driver did not take note of a cancel");
                }
                tokio::time::sleep(INTERRUPT_AGAIN).await;
            }
        };
        tokio::select! {
            () = over => {}
            () = asked => {}
            () = tokio::time::sleep(STOP_DEADLINE) => {}
        }
        self.inside.release(self.id);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
