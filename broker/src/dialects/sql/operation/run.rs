//! How an operation runs: up to its first rows, and on until the last of them are taken from the driver.

use std::time::Duration;

use arrow_array::RecordBatch;

use super::{Operation, State};
use crate::dialects::connect::inside::Results;
use crate::dialects::sql::failure::Failure;
use crate::dialects::sql::plan::{self, Part, Progress};
use crate::dialects::sql::spool::Writer;
use crate::dialects::sql::{cursor, zone};

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

/// How a run ends.
enum Ended {
    /// By itself.
    Over(Result<(), Failure>),
    /// Its client has canceled it.
    Stopped,
    /// It has run for too long.
    Late,
}

impl Operation {
    /// Runs it. `ready` waits for the session's driver.
    ///
    /// It is finished for its client when all its rows are here, or so many that the client has to begin with them:
    /// what follows is then taken while the client reads.
    pub(in crate::dialects::sql) async fn run(
        &self,
        ready: impl Future<Output = Result<(), Failure>>,
        work: impl Future<Output = Result<Work, Failure>>,
        limit: Option<Duration>,
    ) {
        let mut feed = None;
        let ended = {
            let (flow, late) = (self.flow(ready, work, &mut feed), late(limit));
            tokio::pin!(flow, late);
            let mut begins = false;
            loop {
                tokio::select! {
                    over = &mut flow => break Ended::Over(over),
                    () = self.stop.cancelled() => break Ended::Stopped,
                    () = &mut late => break Ended::Late,
                    () = self.buffer.ample(), if !begins => {
                        begins = true;
                        self.settle(State::Finished(self.buffer.schema()));
                    }
                }
            }
        };
        let stops = !matches!(ended, Ended::Over(_));
        self.end(ended);
        if stops {
            self.stop_driver(feed).await;
        }
        // Whatever became of it, its driver has no more use for it, nor has anybody for a session of its own.
        self.inside.release(self.id);
        self.give_back();
    }

    /// Tells what became of it. The rows come first: who sees that it is finished finds them.
    fn end(&self, ended: Ended) {
        let (rows, state) = match ended {
            Ended::Over(Ok(())) => {
                self.note(&format!("INFO all rows are here: {}", self.buffer.received()));
                (Ok(()), State::Finished(self.buffer.schema()))
            }
            Ended::Over(Err(failure)) => {
                self.note(&format!("ERROR {failure}"));
                (Err(failure.clone()), State::Failed(failure))
            }
            Ended::Stopped => (Err(Failure::canceled()), State::Canceled),
            Ended::Late => (Err(Failure::late()), State::TimedOut),
        };
        self.buffer.finish(rows);
        self.settle(state);
    }

    /// Runs it and takes its rows to their end, so that they do not pile up in the driver.
    async fn flow(
        &self,
        ready: impl Future<Output = Result<(), Failure>>,
        work: impl Future<Output = Result<Work, Failure>>,
        feed: &mut Option<Feed>,
    ) -> Result<(), Failure> {
        ready.await?;
        self.settle(State::Running);
        let plan = match work.await? {
            Work::Table(rows) => {
                self.buffer.add_table(rows);
                return Ok(());
            }
            Work::Plan(plan) => plan,
        };
        let feed = feed.insert(Feed {
            results: self.inside.execute(self.id, &plan).await?,
            writer: self.buffer.spool().writer(),
            has_columns: false,
        });
        loop {
            match self.take(feed).await? {
                Came::End => return Ok(()),
                Came::Progress(progress) => self.advance(progress),
                Came::Rows | Came::Other => {}
            }
        }
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
                    zone::known(&columns)?;
                    self.buffer.set_schema(columns);
                    feed.has_columns = true;
                }
                let stream = message.slice_ref(stream);
                self.buffer.add(&mut feed.writer, count, stream).await;
                Ok(Came::Rows)
            }
        }
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
