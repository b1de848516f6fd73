//! Numbers of statements, resources and jobs: given when they are made durable, and found by them.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Mutex;

use berth_core::ids::{Epoch, SessionId};
use berth_core::lineage::{Class, LineageEntry};
use berth_core::record::SessionState;
use uuid::Uuid;

use super::ask::Fault;
use super::entries::{CALL, read_statement};
use super::{Sessions, lock};
use crate::dialects::connect::backend::{self as connect, Refusal as Refused, Ticket};
use crate::dialects::livy::backend::{DriverFault, Numbered, Seat};
use crate::dialects::livy::resource::{Resource, Upload};
use crate::dialects::livy::statement::{Intent, Statement};
use crate::dialects::livy::task::Task;
use crate::ledger::unavailable;
use crate::place::upload;

/// Numbers that lose a race against another broker try again so often.
const MAX_RACES: u32 = 16;
/// Sessions whose numbers are remembered; beyond, they are read again.
const MAX_KNOWN: usize = 100_000;
/// Resources that one session may be given. All of them are added again on each new driver.
const MAX_RESOURCES: u64 = 1000;

/// The next number of each kind in each session, as far as this broker knows. One that is behind costs another try.
#[derive(Debug, Default)]
pub(super) struct Numbers(Mutex<BTreeMap<(SessionId, Task), u64>>);

impl Numbers {
    fn known(&self, session: SessionId, task: Task) -> Option<u64> {
        lock(&self.0).get(&(session, task)).copied()
    }

    fn learn(&self, session: SessionId, task: Task, next: u64) {
        let mut known = lock(&self.0);
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        known.insert((session, task), next);
    }

    fn forget(&self, session: SessionId, task: Task) {
        lock(&self.0).remove(&(session, task));
    }
}

impl Sessions {
    /// Appends an intent to a session's lineage under the next number of its task.
    pub(super) async fn append<F>(
        &self,
        session: SessionId,
        operation: Uuid,
        intent: &Intent,
        write: impl Fn(connect::Intent) -> F,
    ) -> Result<Numbered, Refused>
    where
        F: Future<Output = Result<Ticket, Refused>>,
    {
        let task = intent.task;
        for _ in 0..MAX_RACES {
            let number = self.next_number(session, task).await?;
            if task == Task::Add && number >= MAX_RESOURCES {
                let reason =
                    format!("the session was given {MAX_RESOURCES} resources; put more into one archive");
                return Err(Refused::Denied { reason });
            }
            let asked = recorded(operation, intent, number)?;
            let alias = asked.alias.clone();
            match write(asked).await {
                Ok(ticket) => {
                    self.numbers.learn(session, task, number + 1);
                    let id = ticket.seq.saturating_sub(1);
                    return Ok(Numbered { id, number });
                }
                Err(Refused::Duplicate { operation: taken }) if taken == alias => {
                    self.numbers.forget(session, task)
                }
                Err(other) => return Err(other),
            }
        }
        Err(unavailable(
            "too many statements of the session at once; try again",
        ))
    }

    /// The number of the next statement, resource or job, as far as this broker knows.
    pub(super) async fn next_number(&self, session: SessionId, task: Task) -> Result<u64, Refused> {
        if let Some(known) = self.numbers.known(session, task) {
            return Ok(known);
        }
        let next = task.next(&self.ledger.entries(session).await?);
        self.numbers.learn(session, task, next);
        Ok(next)
    }

    /// True if a number has been given, by whichever broker.
    pub(super) async fn has_number(
        &self,
        session: SessionId,
        task: Task,
        number: u64,
    ) -> Result<bool, Refused> {
        // What this broker knows may be behind: others give numbers, too.
        if self.next_number(session, task).await? > number {
            return Ok(true);
        }
        Ok(self.numbered_entry(session, task, number).await?.is_some())
    }

    /// As [`Sessions::append`], of what waits for the session's driver.
    pub(super) async fn enlisted(
        &self,
        session: SessionId,
        operation: Uuid,
        intent: &Intent,
    ) -> Result<(Numbered, Epoch), Refused> {
        let mut tries = 0;
        loop {
            let read = self.read(session).await?.ok_or(Refused::Closed)?;
            if matches!(read.record.state, SessionState::Closed { .. }) {
                return Err(Refused::Closed);
            }
            let (epoch, revision) = (read.record.epoch, read.revision);
            let begun = self.append(session, operation, intent, |asked| {
                self.ledger.enlist(session, epoch, revision, asked)
            });
            match begun.await {
                // Its record changes while it is placed; nothing was written then.
                Err(Refused::Unavailable { .. }) if tries < MAX_RACES => tries += 1,
                done => return done.map(|begun| (begun, epoch)),
            }
        }
    }

    /// What has this number.
    pub(super) async fn numbered(
        &self,
        session: SessionId,
        task: Task,
        number: u64,
    ) -> Result<Option<Statement>, Refused> {
        match self.numbered_entry(session, task, number).await? {
            Some(entry) => read_statement(&self.ledger, &entry).await.map(Some),
            None => Ok(None),
        }
    }

    async fn numbered_entry(
        &self,
        session: SessionId,
        task: Task,
        number: u64,
    ) -> Result<Option<LineageEntry>, Refused> {
        let is_it = |entry: &LineageEntry| Task::of(entry) == (task, number);
        // Most sessions have statements only: then the place tells.
        let there = match task {
            Task::Statement => self.ledger.entry(session, number.saturating_add(1)).await?,
            Task::Add | Task::Job => None,
        };
        match there.filter(is_it) {
            Some(entry) => Ok(Some(entry)),
            None => self.ledger.recall(session, &task.alias(number)).await,
        }
    }

    /// Brings an uploaded file to where a session is.
    pub(super) async fn put(&self, seat: Seat, file: &Upload) -> Result<(), DriverFault> {
        let place = (seat.session, seat.epoch);
        let sent = self.ask(seat, (upload::DEADLINE, self.patience()), |mut agent| {
            let (ledger, file) = (std::sync::Arc::clone(&self.ledger), file.clone());
            async move {
                let put = upload::put(&mut agent, &ledger, place, &file).await;
                put.map(tonic::Response::new)
            }
        });
        match sent.await {
            // The statement that needs it was not given to anybody yet.
            Err(Fault::NoStatement { .. } | Fault::Gone { .. } | Fault::NeverBegan) => {
                Err(DriverFault::NotSent)
            }
            other => other.map_err(Into::into),
        }
    }
}

fn recorded(operation: Uuid, intent: &Intent, number: u64) -> Result<connect::Intent, Refused> {
    let upload = Resource::of(intent).and_then(Resource::upload);
    Ok(connect::Intent {
        operation: operation.to_string(),
        alias: intent.task.alias(number),
        class: Class::Write,
        call: CALL.to_owned(),
        what: intent.what(),
        key: String::new(),
        payload: serde_json::to_vec(intent).map_err(unavailable)?.into(),
        blobs: upload.map(|upload| upload.chunks).unwrap_or_default(),
        fingerprint: 0,
    })
}
