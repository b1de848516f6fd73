//! How an operation runs: up to its first rows, and on until the last of them are taken from the driver.

use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;

use super::{Operation, State};
use crate::dialects::connect::inside::Results;
use crate::dialects::sql::cursor;
use crate::dialects::sql::failure::Failure;
use crate::dialects::sql::plan::{self, Part, Progress};
use crate::dialects::sql::spool::Writer;

/// How long a driver may take to take note of a cancel.
const INTERRUPT_DEADLINE: Duration = Duration::from_secs(10);
/// When a driver is asked again.
const INTERRUPT_AGAIN: Duration = Duration::from_secs(1);
/// How long a statement that was asked to stop may go on before it is forgotten.
const STOP_DEADLINE: Duration = Duration::from_secs(60);

/// What is run.
#[derive(Debug)]
pub(in crate::dialects::sql) enum Work {
    /// A plan, whose rows are the result.
    Plan(Vec<u8>),
    /// A table that is there already.
    Table(RecordBatch),
}

/// What a driver still has to say.
#[derive(Debug)]
struct Feed {
    results: Results,
    writer: Writer,
    has_columns: bool,
}

/// What came from it.
enum Came {
    Rows,
    Progress(Progress),
    Other,
    End,
}

impl Operation {
    /// Runs it. `ready` waits for the session's driver.
    pub(in crate::dialects::sql) async fn run(
        &self,
        ready: impl Future<Output = Result<(), Failure>>,
        work: impl Future<Output = Result<Work, Failure>>,
        limit: Option<Duration>,
    ) {
        let mut feed = None;
        let late = late(limit);
        tokio::pin!(late);
        let begun = async {
            ready.await?;
            self.settle(State::Running);
            self.begin(work.await?, &mut feed).await
        };
        let settled = tokio::select! {
            begun = begun => match begun {
                Ok(schema) => State::Finished(schema),
                Err(failure) => {
                    self.note(&format!("ERROR {failure}"));
                    State::Failed(failure)
                }
            },
            () = self.stop.cancelled() => State::Canceled,
            () = &mut late => State::TimedOut,
        };
        let stops = matches!(settled, State::Canceled | State::TimedOut);
        let follows = matches!(settled, State::Finished(_)) && !self.buffer.is_finished();
        self.settle(settled);
        if stops || self.stop.is_cancelled() {
            self.stop.cancel();
            self.stop_driver(feed).await;
        } else if let (true, Some(feed)) = (follows, &mut feed) {
            self.take_rest(feed, late).await;
        }
        // Whatever became of it, its driver has no more use for it, nor has anybody for a session of its own.
        self.inside.release(self.id);
        self.give_back();
    }

    /// Runs it up to its first rows.
    async fn begin(&self, work: Work, feed: &mut Option<Feed>) -> Result<SchemaRef, Failure> {
        match work {
            Work::Table(rows) => {
                self.buffer.add_table(rows);
                self.buffer.finish(Ok(()));
            }
            Work::Plan(plan) => {
                let feed = feed.insert(Feed {
                    results: self.inside.execute(self.id, &plan).await?,
                    writer: self.buffer.spool().writer(),
                    has_columns: false,
                });
                loop {
                    match self.take(feed).await? {
                        Came::Rows => break,
                        Came::End => {
                            self.buffer.finish(Ok(()));
                            break;
                        }
                        Came::Progress(progress) => self.advance(progress),
                        Came::Other => {}
                    }
                }
            }
        }
        Ok(self.buffer.schema())
    }

    /// Takes what comes next into the buffer.
    async fn take(&self, feed: &mut Feed) -> Result<Came, Failure> {
        let Some(message) = feed.results.next().await else {
            return Ok(Came::End);
        };
        let message = message?;
        match plan::part(&message)? {
            Part::Progress(progress) => Ok(Came::Progress(progress)),
            Part::Other => Ok(Came::Other),
            Part::Rows { count, stream } => {
                if !feed.has_columns {
                    let columns = cursor::schema(stream).map_err(Failure::unreadable)?;
                    self.buffer.set_schema(columns);
                    feed.has_columns = true;
                }
                let stream = message.slice_ref(stream);
                self.buffer.add(&mut feed.writer, count, stream).await;
                Ok(Came::Rows)
            }
        }
    }

    /// Takes the rest of the rows, so that they do not pile up in the driver, until its client wants no more or it is
    /// too late.
    async fn take_rest(&self, feed: &mut Feed, late: impl Future<Output = ()>) {
        let all = async {
            loop {
                match self.take(feed).await {
                    Ok(Came::End) => return Ok(()),
                    Ok(Came::Progress(progress)) => self.advance(progress),
                    Ok(Came::Rows | Came::Other) => {}
                    Err(failure) => return Err(failure),
                }
            }
        };
        let end = tokio::select! {
            end = all => end,
            () = self.stop.cancelled() => Err(Failure::canceled()),
            () = late => Err(Failure::late()),
        };
        if end.is_ok() {
            self.note(&format!("INFO all {} rows are here", self.buffer.received()));
        }
        self.buffer.finish(end);
    }

    fn advance(&self, progress: Progress) {
        let before = std::mem::replace(&mut *super::lock(&self.progress), progress);
        if before != progress && progress.tasks > 0 {
            self.note(&format!(
                "INFO {} of {} tasks done in {} stages, {} of them complete",
                progress.done_tasks, progress.tasks, progress.stages, progress.done_stages
            ));
        }
    }

    /// Has the driver stop, and waits for it: what became of a write is written down at its end.
    async fn stop_driver(&self, feed: Option<Feed>) {
        let over = async {
            if let Some(mut feed) = feed {
                while let Some(Ok(_unwanted)) = feed.results.next().await {}
            }
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
    }
}

/// When a statement has run for too long.
async fn late(limit: Option<Duration>) {
    match limit {
        Some(limit) => tokio::time::sleep(limit).await,
        None => std::future::pending().await,
    }
}
