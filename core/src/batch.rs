//! Batches: when a submitted application is begun, and what becomes of it when its place is lost.
//!
//! A batch is a session with one piece of work. The run is written down, with the epoch that it is for, before the
//! node is asked to begin it; so whoever looks later knows whether, and where, the application may have run (I3).

use serde::{Deserialize, Serialize};

use crate::ids::Epoch;

/// Runs of one batch. One that takes its node down each time must not go on with the next for ever.
pub const MAX_RUNS: u32 = 3;

/// What a submission asks for if its place is lost while it may run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnNodeLoss {
    /// It ends as dead: what it did may be half-done.
    #[default]
    Dead,
    /// It runs again from its beginning.
    Rerun,
}

/// The run that was begun last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// The epoch of the place where it was begun.
    pub epoch: Epoch,
    /// 1 for the first.
    pub number: u32,
}

impl Run {
    /// The run before, when this one surely did not begin.
    pub fn undone(self) -> Option<Self> {
        let number = self.number.checked_sub(1).filter(|number| *number > 0)?;
        Some(Self { number, ..self })
    }
}

/// What has to be done for a batch that has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Write this run down, if the batch is as it was, and then begin it in its epoch.
    Begin(Run),
    /// Go on with the run of this epoch. A node that is asked to begin it again does not.
    Follow,
    /// Look again: others have moved it on.
    Stale,
    /// End it as dead: its place was lost, and it did not ask to be run again.
    EndLost,
    /// End it as dead: its place was lost too often.
    EndPoison,
}

/// What has to be done for a batch whose session is in the epoch `now`. `last` is the run that was begun last.
pub fn next(asked: OnNodeLoss, last: Option<Run>, now: Epoch) -> Next {
    let Some(last) = last else {
        return Next::Begin(Run {
            epoch: now,
            number: 1,
        });
    };
    match asked {
        _ if last.epoch == now => Next::Follow,
        _ if last.epoch > now => Next::Stale,
        OnNodeLoss::Dead => Next::EndLost,
        OnNodeLoss::Rerun if last.number >= MAX_RUNS => Next::EndPoison,
        OnNodeLoss::Rerun => Next::Begin(Run {
            epoch: now,
            number: last.number + 1,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(epoch: Epoch, number: u32) -> Run {
        Run { epoch, number }
    }

    #[test]
    fn i3_an_application_that_may_have_run_runs_again_only_if_it_asked_for_that() {
        use OnNodeLoss::{Dead, Rerun};
        let (one, two) = (Epoch::INITIAL, Epoch::INITIAL.next());
        let table = [
            (Dead, None, one, Next::Begin(run(one, 1))),
            (Rerun, None, two, Next::Begin(run(two, 1))),
            (Dead, Some(run(one, 1)), one, Next::Follow),
            (Rerun, Some(run(one, 1)), one, Next::Follow),
            (Dead, Some(run(one, 1)), two, Next::EndLost),
            (Rerun, Some(run(one, 1)), two, Next::Begin(run(two, 2))),
            (Rerun, Some(run(one, MAX_RUNS)), two, Next::EndPoison),
            (Dead, Some(run(two, 1)), one, Next::Stale),
            (Rerun, Some(run(two, 1)), one, Next::Stale),
        ];
        for (asked, last, now, expected) in table {
            assert_eq!(next(asked, last, now), expected, "{asked:?} {last:?} {now}");
        }
    }

    #[test]
    fn a_run_that_never_began_does_not_count() {
        let (one, two) = (Epoch::INITIAL, Epoch::INITIAL.next());
        assert_eq!(run(one, 1).undone(), None);
        let last = run(one, 2).undone();
        assert_eq!(next(OnNodeLoss::Rerun, last, two), Next::Begin(run(two, 2)));
    }
}
