//! Statements as they are in a session's lineage.
//!
//! A statement is a lineage entry; its id is the entry's place less one. What it is to run is the payload, how it
//! ended is the answer.

use berth_core::ids::SessionId;
use berth_core::lineage::{LineageEntry, Outcome};
use bytes::Bytes;
use futures_util::future::try_join_all;

use crate::dialects::connect::backend::{Ended, Refusal as Refused, Ticket};
use crate::dialects::livy::backend::{Given, Open};
use crate::dialects::livy::refusal::Refusal;
use crate::dialects::livy::statement::{End, Intent, Statement};
use crate::dialects::livy::task::Task;
use crate::ledger::{Ledger, unavailable};

/// The call that statements are recorded as.
pub(super) const CALL: &str = "code";

/// Large answers that are read at once.
const READ_AT_ONCE: usize = 8;

/// The agent's id of a statement.
pub(crate) fn statement_id(id: u64) -> String {
    format!("s{id}")
}

/// What is to be said of an outcome that has no answer. Its statement ran.
fn unread(outcome: &Outcome) -> Option<End> {
    match outcome {
        Outcome::Unknown | Outcome::Succeeded { answer: Some(_) } => None,
        Outcome::Succeeded { answer: None } => Some(End::unread("it was too large to keep")),
        Outcome::Failed { message, .. } => Some(End::unread(message)),
    }
}

/// The statement that a lineage entry records.
pub(crate) async fn read_statement(ledger: &Ledger, entry: &LineageEntry) -> Result<Statement, Refused> {
    let intent: Intent =
        serde_json::from_slice(&ledger.payload(&entry.payload).await?).map_err(unavailable)?;
    let end = match &entry.outcome {
        Outcome::Succeeded { answer: Some(answer) } => {
            Some(serde_json::from_slice(&ledger.payload(answer).await?).map_err(unavailable)?)
        }
        other => unread(other),
    };
    let (_, number) = Task::of(entry);
    Ok(Statement {
        id: entry.seq.saturating_sub(1),
        number,
        epoch: entry.epoch,
        intent,
        waits: entry.waits && end.is_none(),
        end,
    })
}

/// The statements that some entries record, in their order.
pub(super) async fn read_statements(
    ledger: &Ledger,
    entries: &[LineageEntry],
) -> Result<Vec<Statement>, Refused> {
    let mut read = Vec::with_capacity(entries.len());
    for some in entries.chunks(READ_AT_ONCE) {
        let some = some.iter().map(|entry| read_statement(ledger, entry));
        read.extend(try_join_all(some).await?);
    }
    Ok(read)
}

/// True of a statement or job that has not ended.
pub(super) fn is_open(entry: &LineageEntry) -> bool {
    entry.outcome == Outcome::Unknown && Task::of(entry).0 != Task::Add
}

/// How many statements and jobs have not ended.
pub(super) fn count(entries: &[LineageEntry]) -> Open {
    let open = || entries.iter().filter(|entry| is_open(entry));
    Open {
        given: open().filter(|entry| !entry.waits).count(),
        waits: open().filter(|entry| entry.waits).count(),
    }
}

pub(super) fn given_of(entry: &LineageEntry) -> Given {
    Given {
        id: entry.seq.saturating_sub(1),
        epoch: entry.epoch,
    }
}

/// What is written down of how a statement ended.
pub(super) fn concluded(session: SessionId, id: u64, end: &End) -> Result<(Ticket, Ended), Refusal> {
    let answer = serde_json::to_vec(end).map_err(|error| Refusal::Unavailable(error.to_string()))?;
    let ticket = Ticket {
        session,
        seq: id + 1,
        operation: String::new(),
    };
    Ok((ticket, Ended::Succeeded(Some(Bytes::from(answer)))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i3_what_ran_is_not_told_as_not_run() {
        let failed = Outcome::Failed {
            code: 13,
            message: "no".to_owned(),
            details: String::new(),
        };
        for outcome in [Outcome::Succeeded { answer: None }, failed] {
            let end = unread(&outcome).unwrap();
            assert!(!end.known && !end.is_not_run(), "{end:?}");
        }
        assert_eq!(unread(&Outcome::Unknown), None);
    }
}
