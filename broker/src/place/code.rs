//! Rebuilds a code session: its statements without outside effects run again, in order.

use std::time::Duration;

use berth_core::lineage::{LineageEntry, Outcome};
use berth_core::record::SessionRecord;
use berth_core::session::ends_its_drivers;
use berth_proto::agent as api;
use berth_proto::agent::statement::State;
use tokio::time::Instant;
use tonic::{Code, Status};

use super::poison::MAX_KILLS;
use super::{Made, Miss, Placer, upload};
use crate::dialects::connect::backend::{Refusal, Route};
use crate::dialects::livy::replay::{Policy, Step};
use crate::dialects::livy::resource::Resource;
use crate::dialects::livy::statement::{End, Snapshot, Statement};
use crate::dialects::livy::task::Task;
use crate::sessions::entries::{read_statement, statement_id};

/// How long one question for a statement's end stays open at the agent.
const POLL: Duration = Duration::from_secs(20);
/// A replayed statement may take so many times as long as it took first, and at least [`LEAST`].
const SLACK: u32 = 3;
const LEAST: Duration = Duration::from_secs(60);
/// The agent's kind of a statement that gives variables back.
const RESTORE: &str = "restore";
/// Names of lost things that are kept for the session's history.
const MAX_LOST: usize = 20;

impl Placer {
    pub(super) async fn rebuild_code(&self, route: &Route) -> Result<Made, Miss> {
        let entries = self.ledger.entries(route.record.id).await.map_err(Miss::Never)?;
        let mut made = Made::nothing();
        if Policy::of(&route.record.confs) == Policy::Fresh && !entries.is_empty() {
            let count = entries.len();
            made.lost.push(format!(
                "the state that {count} statements made, as berth.recovery = fresh asks"
            ));
            return Ok(made);
        }
        made.left_out = left_out(&route.record, &entries);
        if made.left_out > 0 {
            made.lost.push(
                "the state that its earlier code made, since one driver after another ended soon after it ran again"
                    .to_owned(),
            );
        }
        for entry in entries {
            // Asked for since this epoch began: it runs once its session is there.
            if entry.outcome == Outcome::Unknown && entry.epoch == route.epoch {
                continue;
            }
            if entry.seq <= made.left_out && Task::of(&entry).0 != Task::Add {
                continue;
            }
            let statement = self.statement(&entry).await.map_err(Miss::Never)?;
            let step = Step::of(&statement);
            if matches!(step, Step::Refused | Step::Unfinished) {
                // Its client knows, or will.
                continue;
            }
            match self.again(route, &statement, step).await? {
                None => made.replayed += 1,
                Some(why) if made.lost.len() < MAX_LOST => {
                    made.lost.push(format!("{}: {why}", statement.label()));
                }
                Some(_) => {}
            }
        }
        Ok(made)
    }

    async fn statement(&self, entry: &LineageEntry) -> Result<Statement, Refusal> {
        read_statement(&self.ledger, entry).await
    }

    /// Runs a statement again if it may be, and otherwise gives back what it made of variables. `None` if all is as
    /// it was; else what is different, for a person.
    async fn again(&self, route: &Route, statement: &Statement, step: Step) -> Result<Option<String>, Miss> {
        if self.poison.is_poison(route.record.id, statement.id) {
            return Ok(Some(format!(
                "not run again, since it killed {MAX_KILLS} drivers"
            )));
        }
        let why = match step {
            Step::Replay => {
                let (kind, code) = (statement.intent.agent_kind(), statement.intent.agent_code());
                let ended = self.run(route, statement, (kind, &code)).await?;
                return Ok(difference(statement, ended.as_ref()));
            }
            Step::HasEffects => "not run again, since it had outside effects",
            Step::OutcomeUnknown => "not run again, since nobody knows whether it ran",
            Step::Cancelled => "not run again, since it was cancelled",
            Step::Refused | Step::Unfinished => return Ok(None),
        };
        let snapshot = statement.end.as_ref().and_then(|end| end.snapshot.as_ref());
        let Some(snapshot) = snapshot else {
            return Ok(Some(why.to_owned()));
        };
        let restored = if snapshot.data.is_empty() {
            Ok(())
        } else {
            let ended = self
                .run(route, statement, (RESTORE, snapshot.data.as_str()))
                .await?;
            failure(ended.as_ref()).map_or(Ok(()), Err)
        };
        Ok(Some(format!("{why}{}", told(snapshot, restored))))
    }

    /// `None` when it had to be stopped.
    async fn run(
        &self,
        route: &Route,
        statement: &Statement,
        what: (&str, &str),
    ) -> Result<Option<api::Statement>, Miss> {
        self.run_once(route, statement, what).await.map_err(|status| {
            if status.code() == Code::Aborted {
                self.poison.has_killed(route.record.id, statement.id);
            }
            Miss::Again(format!("{}: {}", statement.label(), status.message()))
        })
    }

    async fn run_once(
        &self,
        route: &Route,
        statement: &Statement,
        (kind, code): (&str, &str),
    ) -> Result<Option<api::Statement>, Status> {
        let mut agent = self.fleet.client(&route.agent);
        let (session_id, epoch) = (route.record.id.to_string(), route.epoch.get());
        let id = statement_id(statement.id);
        if let Some(file) = Resource::of(&statement.intent).and_then(Resource::upload) {
            upload::put(&mut agent, &self.ledger, (route.record.id, route.epoch), &file).await?;
        }
        agent
            .start_statement(api::StartStatementRequest {
                session_id: session_id.clone(),
                epoch,
                statement_id: id.clone(),
                kind: kind.to_owned(),
                code: code.to_owned(),
            })
            .await?;
        let until = Instant::now() + allowance(statement);
        while Instant::now() < until {
            let request = api::GetStatementRequest {
                session_id: session_id.clone(),
                epoch,
                statement_id: id.clone(),
                wait_ms: u32::try_from(POLL.as_millis()).unwrap_or(u32::MAX),
            };
            let now = agent.get_statement(request).await?.into_inner();
            if End::of(&now).is_some() {
                return Ok(Some(now));
            }
        }
        let request = api::CancelStatementRequest {
            session_id,
            epoch,
            statement_id: id,
        };
        agent.cancel_statement(request).await?;
        Ok(None)
    }
}

/// Up to where code is left out, since it ends the drivers on which it runs again. What was asked for since this epoch
/// began has run nowhere yet.
fn left_out(record: &SessionRecord, entries: &[LineageEntry]) -> u64 {
    let ran: Vec<_> = entries
        .iter()
        .filter(|entry| entry.epoch < record.epoch)
        .collect();
    let newest = ran.iter().map(|entry| entry.epoch).max();
    let last = ran.last().map_or(0, |entry| entry.seq);
    if ends_its_drivers(record, newest) {
        last.max(record.left_out)
    } else {
        record.left_out
    }
}

fn allowance(statement: &Statement) -> Duration {
    let took = statement
        .end
        .as_ref()
        .map_or(0, |end| end.completed - end.started);
    let took = Duration::from_millis(u64::try_from(took).unwrap_or(0));
    (took * SLACK).max(LEAST)
}

/// What differs from the first time, for a person.
fn difference(statement: &Statement, ended: Option<&api::Statement>) -> Option<String> {
    let before = statement.end.as_ref();
    let failed_before = before.is_some_and(|end| end.output["status"] == "error");
    if let Some(failed) = failure(ended) {
        let is_new = !failed_before || ended.is_none();
        return is_new.then(|| format!("failed when it was run again: {failed}"));
    }
    let again = ended.and_then(End::of);
    let is_other = before
        .zip(again)
        .is_some_and(|(before, again)| before.output != again.output);
    // Nobody is shown the output of anything else.
    (statement.intent.task.is_statement() && is_other)
        .then(|| "run again, with another output than the first time".to_owned())
}

/// Why a statement of a recovery did not end well.
fn failure(ended: Option<&api::Statement>) -> Option<String> {
    let Some(ended) = ended else {
        return Some("stopped, since it took much longer than the first time".to_owned());
    };
    let value: String = ended.error_value.chars().take(200).collect();
    (ended.state() != State::Ok).then(|| format!("{}: {value}", ended.error_name))
}

/// What became of the variables of a statement that was not run again.
fn told(snapshot: &Snapshot, restored: Result<(), String>) -> String {
    let list = |names: &[String]| {
        names
            .iter()
            .take(MAX_LOST)
            .cloned()
            .collect::<Vec<_>>()
            .join(", ")
    };
    let mut text = String::new();
    match restored {
        Err(failed) => text.push_str(&format!("; its variables are not restored: {failed}")),
        Ok(()) if snapshot.names.is_empty() => {}
        Ok(()) => text.push_str(&format!("; restored are {}", list(&snapshot.names))),
    }
    if !snapshot.lost.is_empty() {
        text.push_str(&format!("; not restored are {}", list(&snapshot.lost)));
    }
    text
}

#[cfg(test)]
mod tests {
    use berth_core::ids::Epoch;

    use super::*;
    use crate::dialects::livy::kind::Kind;
    use crate::dialects::livy::statement::Intent;

    fn reported(state: State, output: &str) -> api::Statement {
        api::Statement {
            state: state.into(),
            output_json: format!(r#"{{"text/plain": "{output}"}}"#),
            error_name: "E".to_owned(),
            error_value: "no".to_owned(),
            ..api::Statement::default()
        }
    }

    fn statement(task: Task, first: &api::Statement) -> Statement {
        Statement {
            id: 0,
            number: 0,
            epoch: Epoch::INITIAL,
            intent: Intent {
                kind: Kind::Pyspark,
                code: "uuid.uuid4()".to_owned(),
                task,
                rows: None,
            },
            waits: false,
            end: End::of(first),
        }
    }

    #[test]
    fn what_differs_the_second_time_is_told() {
        let (one, two) = (reported(State::Ok, "1"), reported(State::Ok, "2"));
        let failed = reported(State::Error, "");
        let first = statement(Task::Statement, &one);
        assert_eq!(difference(&first, Some(&one)), None);
        assert_eq!(
            difference(&first, Some(&two)).as_deref(),
            Some("run again, with another output than the first time")
        );
        assert_eq!(
            difference(&first, Some(&failed)).as_deref(),
            Some("failed when it was run again: E: no")
        );
        assert!(difference(&first, None).unwrap().contains("much longer"));
        assert_eq!(difference(&statement(Task::Job, &one), Some(&two)), None);
        let error = statement(Task::Statement, &failed);
        assert_eq!(difference(&error, Some(&failed)), None);
    }

    #[test]
    fn a_history_names_what_is_restored_and_what_is_not() {
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        let mut snapshot = Snapshot {
            data: "x".to_owned(),
            names: names(&["a", "b"]),
            lost: names(&["df"]),
        };
        assert_eq!(
            told(&snapshot, Ok(())),
            "; restored are a, b; not restored are df"
        );
        let failed = told(&snapshot, Err("E: no".to_owned()));
        assert_eq!(
            failed,
            "; its variables are not restored: E: no; not restored are df"
        );
        snapshot.names.clear();
        snapshot.lost.clear();
        assert_eq!(told(&snapshot, Ok(())), "");
    }
}
