//! Steps of a rebuild, and what of a lineage may change.

use super::*;
use crate::ids::Epoch;
use crate::lineage::{Payload, Witness, samples};
use uuid::Uuid;

fn entry(seq: u64, class: Class, outcome: Outcome, key: &str) -> LineageEntry {
    LineageEntry {
        outcome,
        ..samples::entry(seq, class, key)
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
        (Class::Write, succeeded(), "view:v", false),
        (Class::Write, succeeded(), "altered:view:v", false),
        (Class::Write, succeeded(), "untold:x", false),
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

/// Class and key of an entry.
type Change<'a> = (Class, &'a str);

/// A view, something that may be built on it, and what became of the view.
fn made_and(key: &str, changes: &[Change<'_>]) -> Vec<LineageEntry> {
    let built = LineageEntry {
        payload: Payload::Blob {
            sha256: String::new(),
            len: 1,
        },
        ..entry(2, Class::State, succeeded(), "view:u")
    };
    let changes = (3..).zip(changes);
    let changes = changes.map(|(seq, (class, key))| entry(seq, *class, succeeded(), key));
    [entry(1, Class::State, succeeded(), key), built]
        .into_iter()
        .chain(changes)
        .collect()
}

/// Places that are sent, and what is dropped.
fn planned(entries: &[LineageEntry]) -> Vec<String> {
    let steps = plan(entries);
    let told = steps.iter().map(|step| match step {
        Step::Send(entry) => format!("send {}", entry.seq),
        Step::DropTempView { entry, name } => format!("drop {name:?} for {}", entry.seq),
    });
    told.collect()
}

/// connect#43: a dropped view stays dropped, and nothing permanent is dropped or altered twice (I3).
#[test]
fn i3_a_write_is_made_up_for_where_a_temporary_view_is_there() {
    use Class::{State, Write};
    let local = r#"drop Local("v") for 3"#;
    let cases: [(&str, &[Change<'_>], &[&str]); 10] = [
        ("view:v", &[(Write, "view:v")], &["send 1", "send 2", local]),
        ("view:`v`", &[(Write, "view:v")], &["send 1", "send 2", local]),
        (
            "gview:v",
            &[(Write, "gview:v")],
            &["send 1", "send 2", r#"drop Global("v") for 3"#],
        ),
        ("gview:v", &[(Write, "view:v")], &["send 1", "send 2"]),
        // Once is enough.
        (
            "view:v",
            &[(Write, "view:v"), (Write, "view:v")],
            &["send 1", "send 2", r#"drop Local("v") for 4"#],
        ),
        (
            "view:v",
            &[(Write, "altered:view:v")],
            &["send 1", "send 2", local, "send 3"],
        ),
        (
            "view:v",
            &[(Write, "renamed:view:v")],
            &["send 1", "send 2", local],
        ),
        // The second one is permanent.
        (
            "view:v",
            &[(Write, "view:v"), (Write, "altered:view:v")],
            &["send 1", "send 2", local],
        ),
        ("view:w", &[(Write, "altered:view:v")], &["send 1", "send 2"]),
        // Without a key, it may have made any view; altered was then perhaps another.
        (
            "view:w",
            &[(State, ""), (Write, "altered:view:v")],
            &["send 1", "send 2", "send 3"],
        ),
    ];
    for (made, changes, expected) in cases {
        assert_eq!(planned(&made_and(made, changes)), expected, "{made} {changes:?}");
    }
}

#[test]
fn i2_what_is_not_made_again_of_a_write_is_named() {
    let named = |key| lost(&made_and("view:v", &[(Class::Write, key)]));
    let told = "entry 3: it is not run again, and what it may have changed in the session is gone";
    for (key, expected) in [
        ("untold:EXECUTE IMMEDIATE SET A", vec![told]),
        ("renamed:view:v", vec![told]),
        ("renamed:view:permanent", vec![]),
        ("altered:view:v", vec![]),
        ("view:v", vec![]),
        ("", vec![]),
    ] {
        assert_eq!(named(key), expected, "{key}");
    }
}

#[test]
fn i8_what_nobody_can_tell_is_told_once_and_not_without_end() {
    let untold = |seq, n| entry(seq, Class::Write, succeeded(), &format!("untold:{n}"));
    let same: Vec<_> = (1..=50).map(|seq| untold(seq, 0)).collect();
    assert_eq!(lost(&same).len(), 1);
    let all: Vec<_> = (1..=50).map(|seq| untold(seq, seq)).collect();
    let told = lost(&all);
    assert_eq!(told.len(), MAX_TOLD);
    assert!(told.iter().any(|last| last.starts_with("entry 50:")), "{told:?}");
    let unknown = entry(1, Class::Write, Outcome::Unknown, "untold:x");
    assert_eq!(lost(&[unknown]), [""; 0]);
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
