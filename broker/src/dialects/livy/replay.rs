//! Which statements of a session are run again on a new driver.

use super::statement::{State, Statement};

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
}

impl Step {
    /// What a recovery does with `statement`.
    ///
    /// Code that failed is run again as well: what it had assigned before it failed is state.
    pub fn of(statement: &Statement) -> Self {
        match &statement.end {
            None => Self::OutcomeUnknown,
            Some(end) if !end.known => Self::OutcomeUnknown,
            Some(end) if end.state == State::Cancelled => Self::Cancelled,
            Some(end) if !end.effects.is_empty() => Self::HasEffects,
            Some(_) => Self::Replay,
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
        let intent = Intent {
            kind: Kind::Pyspark,
            code: "x = 1".to_owned(),
        };
        Step::of(&Statement {
            id: 0,
            epoch: Epoch::INITIAL,
            intent,
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
    fn i3_only_known_statements_without_effects_run_again() {
        let table = [
            (ended(Reporting::Ok, &[]), Step::Replay),
            (ended(Reporting::Error, &[]), Step::Replay),
            (ended(Reporting::Ok, &["file:/tmp/x"]), Step::HasEffects),
            (ended(Reporting::Error, &["process:sh"]), Step::HasEffects),
            (ended(Reporting::Cancelled, &[]), Step::Cancelled),
            (Some(End::unknown(1)), Step::OutcomeUnknown),
            (None, Step::OutcomeUnknown),
        ];
        for (end, expected) in table {
            assert_eq!(step(end.clone()), expected, "{end:?}");
        }
    }
}
