//! Which statements of a session are run again on a new driver.

use std::collections::BTreeMap;
use std::str::FromStr;

use super::refusal::Refusal;
use super::statement::{State, Statement};
use super::task::Task;

/// What a recovery does with one statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Run it again, in its turn.
    Replay,
    /// Leave it out: it has outside effects.
    HasEffects,
    /// Leave it out: nobody knows whether, or how far, it ran.
    OutcomeUnknown,
    /// Leave it out: it was stopped, and might never end.
    Cancelled,
    /// Leave it to whoever follows it, who carries it on or says that its outcome is unknown.
    Unfinished,
    /// Leave it out: its client was told that it did not run, or that the resource is not to be had.
    Refused,
}

impl Step {
    /// What a recovery does with `statement`.
    ///
    /// Code that failed is run again as well: what it had assigned before it failed is state.
    pub fn of(statement: &Statement) -> Self {
        if statement.intent.task == Task::Add {
            return Self::of_resource(statement);
        }
        match &statement.end {
            None => Self::Unfinished,
            Some(end) if !end.known => Self::OutcomeUnknown,
            Some(end) if end.is_not_run() => Self::Refused,
            Some(end) if end.state == State::Cancelled => Self::Cancelled,
            Some(end) if !end.effects.is_empty() => Self::HasEffects,
            Some(_) => Self::Replay,
        }
    }

    /// To add a resource once more does no harm, whatever became of it before; only what was refused stays out.
    fn of_resource(statement: &Statement) -> Self {
        let end = statement.end.as_ref();
        let refused = end.is_some_and(|end| end.known && end.output["status"] != "ok");
        if refused { Self::Refused } else { Self::Replay }
    }
}

/// What a session wants of a recovery: its conf [`Policy::CONF`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Statements without outside effects run again, variables of the others are restored. The default.
    Replay,
    /// A new, empty driver; the outputs of statements are kept.
    Fresh,
    /// None: the session ends.
    None,
}

impl Policy {
    /// The conf in a session's record.
    pub const CONF: &str = "spark.berth.recovery";
    /// Its other name, for clients.
    pub const ALIAS: &str = "berth.recovery";

    /// The policy that confs ask for.
    pub fn of(confs: &BTreeMap<String, String>) -> Self {
        let asked = confs.get(Self::CONF).and_then(|asked| asked.parse().ok());
        asked.unwrap_or(Self::Replay)
    }
}

impl FromStr for Policy {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        match text {
            "replay" => Ok(Self::Replay),
            "fresh" => Ok(Self::Fresh),
            "none" => Ok(Self::None),
            _ => Err(Refusal::Rejected(format!(
                "{} is replay, fresh or none, not '{text:.64}'",
                Self::ALIAS
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use berth_core::ids::Epoch;
    use berth_proto::agent::Statement as Reported;
    use berth_proto::agent::statement::State as Reporting;

    use super::super::kind::Kind;
    use super::super::statement::{End, Intent};
    use super::*;

    fn step(end: Option<End>) -> Step {
        step_of(Task::Statement, end)
    }

    fn step_of(task: Task, end: Option<End>) -> Step {
        let intent = Intent {
            kind: Kind::Pyspark,
            code: "x = 1".to_owned(),
            task,
            rows: None,
        };
        Step::of(&Statement {
            id: 0,
            number: 0,
            epoch: Epoch::INITIAL,
            intent,
            waits: false,
            end,
        })
    }

    fn ended(state: Reporting, effects: &[&str]) -> Option<End> {
        let effects = effects.iter().map(ToString::to_string).collect();
        End::of(&Reported {
            state: state.into(),
            effects,
            ..Reported::default()
        })
    }

    #[test]
    fn a_policy_is_one_of_three_and_replay_by_default() {
        let confs = |policy: &str| BTreeMap::from([(Policy::CONF.to_owned(), policy.to_owned())]);
        assert_eq!(Policy::of(&BTreeMap::new()), Policy::Replay);
        assert_eq!(Policy::of(&confs("fresh")), Policy::Fresh);
        assert_eq!(Policy::of(&confs("none")), Policy::None);
        assert!("Fresh".parse::<Policy>().is_err());
    }

    #[test]
    fn i3_only_known_statements_without_effects_run_again() {
        let table = [
            (ended(Reporting::Ok, &[]), Step::Replay),
            (ended(Reporting::Error, &[]), Step::Replay),
            (ended(Reporting::Ok, &["file:/tmp/x"]), Step::HasEffects),
            (ended(Reporting::Error, &["process:sh"]), Step::HasEffects),
            (ended(Reporting::Cancelled, &[]), Step::Cancelled),
            (Some(End::unknown(1)), Step::OutcomeUnknown),
            // It ran, and what it did outside is not known any more.
            (Some(End::unread("too large")), Step::OutcomeUnknown),
            (None, Step::Unfinished),
        ];
        for (end, expected) in table {
            assert_eq!(step(end.clone()), expected, "{end:?}");
        }
    }

    #[test]
    fn i3_what_its_client_knows_not_to_have_run_never_runs() {
        let refused = Some(End::refused("the session lost its driver again and again", 1));
        for task in [Task::Statement, Task::Job, Task::Add] {
            assert_eq!(step_of(task, refused.clone()), Step::Refused, "{task:?}");
        }
    }

    #[test]
    fn i2_resources_are_added_again_unless_they_were_refused() {
        let table = [
            (ended(Reporting::Ok, &[]), Step::Replay),
            (Some(End::unknown(1)), Step::Replay),
            (None, Step::Replay),
            (ended(Reporting::Error, &[]), Step::Refused),
        ];
        for (end, expected) in table {
            assert_eq!(step_of(Task::Add, end.clone()), expected, "{end:?}");
        }
    }
}
