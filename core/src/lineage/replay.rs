//! What a recovery sends to a new driver.

use super::compact::superseded;
use super::{Class, LineageEntry, Outcome};

/// One step of a rebuild.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step<'a> {
    /// Send the entry's request again.
    Send(&'a LineageEntry),
    /// Drop a temporary view: all that a recorded `DROP VIEW` may do a second time. A permanent view of that name
    /// may have been made again by somebody else.
    DropTempView {
        /// The recorded statement.
        entry: &'a LineageEntry,
        /// The view's name.
        name: &'a str,
    },
}

/// The steps that make a session's state again, in order, from its lineage in order.
///
/// A state change that succeeded is made again. One whose outcome nobody knows is made too: the new driver has never
/// seen it, so there it runs once, in its place, and its outcome is known from then on. What failed is left out,
/// and what wrote is never sent again (I3). What a later entry replaces is left out too.
pub fn plan(entries: &[LineageEntry]) -> Vec<Step<'_>> {
    let superseded = superseded(entries);
    let kept = entries.iter().filter(|entry| !superseded.contains(&entry.seq));
    kept.filter_map(step).collect()
}

fn step(entry: &LineageEntry) -> Option<Step<'_>> {
    match (entry.class, &entry.outcome) {
        (Class::State, Outcome::Succeeded { .. } | Outcome::Unknown) => Some(Step::Send(entry)),
        (Class::Write, Outcome::Succeeded { .. }) => {
            let name = entry.key.strip_prefix("view:")?;
            Some(Step::DropTempView { entry, name })
        }
        (Class::State | Class::Write | Class::Read | Class::Pinned, _) => None,
    }
}

/// What only the lost driver had, for the session's history.
pub fn lost(entries: &[LineageEntry]) -> Vec<String> {
    let pinned = entries.iter().filter(|entry| entry.class == Class::Pinned);
    pinned
        .filter(|entry| !matches!(entry.outcome, Outcome::Failed { .. }))
        .map(|entry| entry.what.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Epoch, SessionId};
    use crate::lineage::{Payload, Witness};
    use uuid::Uuid;

    fn entry(seq: u64, class: Class, outcome: Outcome, key: &str) -> LineageEntry {
        LineageEntry {
            format: LineageEntry::FORMAT,
            session: SessionId::new(Uuid::nil()),
            seq,
            epoch: Epoch::INITIAL,
            operation: seq.to_string(),
            alias: String::new(),
            class,
            call: "execute".to_owned(),
            what: format!("entry {seq}"),
            key: key.to_owned(),
            payload: Payload::Inline(String::new()),
            blobs: Vec::new(),
            fingerprint: 0,
            outcome,
            waits: false,
            reruns: 0,
            claim: None,
            handed_on: false,
            at: 0,
        }
    }

    fn succeeded() -> Outcome {
        Outcome::Succeeded { answer: None }
    }

    fn failed() -> Outcome {
        Outcome::Failed {
            code: 13,
            message: String::new(),
            details: String::new(),
        }
    }

    /// I3, connect#67: a write is not among the steps whatever became of it.
    #[test]
    fn i3_every_class_and_outcome_has_its_step() {
        let cases = [
            (Class::State, succeeded(), "", true),
            (Class::State, Outcome::Unknown, "", true),
            (Class::State, failed(), "", false),
            (Class::Write, succeeded(), "", false),
            (Class::Write, Outcome::Unknown, "", false),
            (Class::Write, Outcome::Unknown, "view:v", false),
            (Class::Pinned, succeeded(), "", false),
        ];
        for (class, outcome, key, sent) in cases {
            let entries = [entry(1, class, outcome.clone(), key)];
            assert_eq!(
                matches!(plan(&entries).as_slice(), [Step::Send(_)]),
                sent,
                "{class:?} {outcome:?}"
            );
        }
    }

    /// connect#43: a dropped view stays dropped, and nothing permanent is dropped twice.
    #[test]
    fn a_recorded_drop_view_drops_only_a_temporary_one() {
        let entries = [
            entry(1, Class::State, succeeded(), "view:v"),
            entry(2, Class::Write, succeeded(), "view:v"),
        ];
        let drop = Step::DropTempView {
            entry: &entries[1],
            name: "v",
        };
        assert_eq!(plan(&entries), [drop]);
    }

    #[test]
    fn i2_the_first_outcome_stands() {
        let concluded = entry(1, Class::Write, Outcome::Unknown, "")
            .conclude(failed())
            .unwrap();
        assert_eq!(concluded.outcome, failed());
        assert_eq!(concluded.conclude(succeeded()), None);
    }

    #[test]
    fn i3_what_waits_is_given_to_one_driver_by_one_broker() {
        let (first, next) = (Epoch::INITIAL, Epoch::INITIAL.next());
        let waiting = || LineageEntry {
            waits: true,
            ..entry(1, Class::Write, Outcome::Unknown, "")
        };
        let claimed = waiting().claim(first, Uuid::nil()).unwrap();
        assert_eq!(claimed.epoch, first);
        // The epoch is the same, but it was given away: neither can it be taken to another driver, nor taken back.
        assert_eq!(claimed.clone().claim(next, Uuid::nil()), None);
        assert_eq!(claimed.withdraw(failed()), None);
        let withdrawn = waiting().withdraw(failed()).unwrap();
        assert_eq!(withdrawn.claim(first, Uuid::nil()), None);
    }

    #[test]
    fn i3_what_is_put_back_is_given_to_one_driver_once_more() {
        let (first, next) = (Epoch::INITIAL, Epoch::INITIAL.next());
        let given = || entry(1, Class::Write, Outcome::Unknown, "");
        for witness in [Witness::Agent, Witness::Claimant] {
            let waiting = given().put_back(first, witness).unwrap();
            assert_eq!(waiting.clone().put_back(first, witness), None);
            // It is with no driver that could have been lost with it.
            assert_eq!(waiting.clone().give_up(first, succeeded()), None);
            assert_eq!(waiting.clone().hand_on(first), None);
            assert_eq!(
                waiting.claim(next, Uuid::nil()).unwrap().put_back(first, witness),
                None
            );
            // Somebody else has settled it.
            assert_eq!(given().put_back(next, witness), None);
            let ended = entry(1, Class::Write, succeeded(), "");
            assert_eq!(ended.put_back(first, witness), None);
        }
        assert!(given().give_up(first, succeeded()).is_some());
        assert_eq!(given().give_up(next, succeeded()), None);
    }

    /// Its claimant did not bring it to the driver, but somebody else may have.
    #[test]
    fn i3_who_handed_it_over_is_no_witness() {
        let first = Epoch::INITIAL;
        let given = || entry(1, Class::Write, Outcome::Unknown, "");
        let handed_on = given().hand_on(first).unwrap();
        assert_eq!(handed_on.clone().put_back(first, Witness::Claimant), None);
        let waiting = handed_on.put_back(first, Witness::Agent).unwrap();
        // A new claimant has it alone.
        let claimed = waiting.claim(first, Uuid::nil()).unwrap();
        assert!(claimed.put_back(first, Witness::Claimant).is_some());
    }

    #[test]
    fn i8_what_may_run_again_costs_so_many_drivers() {
        let first = Epoch::INITIAL;
        let waiting = LineageEntry {
            waits: true,
            ..entry(1, Class::Write, Outcome::Unknown, "")
        };
        let mut claimed = waiting.claim(first, Uuid::nil()).unwrap();
        // A driver that was lost before it began does not count.
        for _ in 0..3 {
            claimed = claimed
                .put_back(first, Witness::Agent)
                .unwrap()
                .claim(first, Uuid::nil())
                .unwrap();
        }
        let again = claimed
            .run_again(first)
            .unwrap()
            .claim(first, Uuid::nil())
            .unwrap();
        assert_eq!(again.run_again(first), None);
    }

    #[test]
    fn pinned_things_are_named() {
        let entries = [
            entry(1, Class::Pinned, succeeded(), ""),
            entry(2, Class::Pinned, failed(), ""),
        ];
        assert_eq!(lost(&entries), ["entry 1"]);
    }
}
