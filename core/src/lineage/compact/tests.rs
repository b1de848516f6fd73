//! Rules one by one, and a model session that must come out the same.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use proptest::prelude::*;

use super::*;
use crate::lineage::replay::{self, Step};
use crate::lineage::{Payload, samples};

const LATER: UnixMillis = REMEMBERED_MILLIS;

fn entry(seq: u64, class: Class, key: &str, text: &str) -> LineageEntry {
    LineageEntry {
        what: text.to_owned(),
        payload: Payload::Inline(BASE64.encode(text)),
        ..samples::entry(seq, class, key)
    }
}

#[test]
fn i2_statements_of_code_stay_as_long_as_their_session() {
    let code = LineageEntry {
        call: "code".to_owned(),
        ..entry(1, Class::Write, "", "x = 1")
    };
    let entries = [code, entry(2, Class::State, "", "later")];
    assert!(removable(&entries, LATER, Room::Short).is_empty());
}

/// Class, key and text of an entry.
type Made<'a> = (Class, &'a str, &'a str);

fn gone(entries: &[Made<'_>]) -> Vec<u64> {
    let entries: Vec<_> = (1..)
        .zip(entries)
        .map(|(seq, (class, key, text))| entry(seq, *class, key, text))
        .collect();
    removable(&entries, LATER, Room::Enough).into_iter().collect()
}

#[test]
fn each_rule_removes_what_it_should_and_no_more() {
    use Class::{Pinned, State, Write};
    let conf = (State, "conf:a", "set a");
    let view = (State, "view:v", "make v: 1");
    let on_itself = (State, "view:v", "make v: from v");
    let on_view = (State, "view:w", "select from V");
    let other = (State, "view:x", "select 2");
    let drop_sql = (Write, "view:v", "drop view v");
    let dropped = (Write, "view:x", "drop table x");
    let altered = (Write, "altered:view:v", "altered v: 2");
    let altered_on_x = (Write, "altered:view:v", "altered v: from x");
    let renamed = (Write, "renamed:view:v", "renamed v to w");
    let untold = (Write, "untold:script", "script");
    let last = (State, "conf:a", "set a");
    let cases: [(&[Made<'_>], &[u64]); 28] = [
        (&[conf, conf, conf], &[1, 2]),
        (&[conf, view, conf], &[]),
        (&[conf, (State, "conf:b", "set b"), conf], &[1]),
        (&[conf, (State, "conf:b", "set b = ${a}"), conf], &[]),
        (&[view, view], &[1]),
        (&[view, on_itself], &[]),
        (&[view, on_view, view], &[]),
        (&[view, other, view], &[1]),
        (&[view, drop_sql, other], &[1, 2]),
        (&[view, drop_sql], &[1]),
        (&[view, on_view, drop_sql], &[]),
        (&[(Write, "", "insert"), (Pinned, "", "checkpoint")], &[1]),
        (&[(State, "", "anything"), (State, "", "anything")], &[]),
        // A table, even if there is something that has no key.
        (&[(State, "", "use d"), dropped, last], &[2]),
        (&[(State, "", "cache table x as"), dropped, last], &[]),
        (&[(State, "", "use x"), dropped, dropped, dropped, last], &[2, 3]),
        (&[(State, "", "cache table identifier(..)"), dropped, last], &[]),
        (&[(State, "", "cache table ${t}"), dropped, last], &[]),
        (&[other, on_view, dropped, dropped, last], &[1, 3, 4]),
        (&[view, on_view, drop_sql, drop_sql, last], &[3]),
        // A permanent view, and one that the session made.
        (&[altered, last], &[1]),
        (&[view, altered, last], &[]),
        (&[view, altered, altered, last], &[2]),
        (&[view, altered, view, last], &[1, 2]),
        (&[view, altered, drop_sql, last], &[1, 2, 3]),
        (&[view, other, altered_on_x, other, last], &[]),
        (&[view, renamed, view, last], &[]),
        (&[untold, untold, last], &[1]),
    ];
    for (entries, expected) in cases {
        assert_eq!(gone(entries), expected, "{entries:?}");
    }
}

#[test]
fn i2_what_a_client_may_still_ask_for_and_what_is_unknown_stays() {
    let mut entries = vec![
        entry(1, Class::State, "conf:a", "set a"),
        entry(2, Class::State, "conf:a", "set a"),
    ];
    assert!(removable(&entries, LATER - 1, Room::Enough).is_empty());
    entries[1].outcome = Outcome::Unknown;
    assert!(removable(&entries, LATER, Room::Enough).is_empty());
}

#[test]
fn i8_a_lineage_that_is_short_of_room_gives_up_answers_that_may_be_made_again() {
    let short = |entries: &[LineageEntry], now| {
        removable(entries, now, Room::Short)
            .into_iter()
            .collect::<Vec<_>>()
    };
    let mut entries = vec![
        entry(1, Class::Write, "", "insert"),
        entry(2, Class::State, "view:v", "select 1"),
        entry(3, Class::State, "view:v", "select 2"),
    ];
    assert!(short(&entries, REMEMBERED_WHEN_SHORT_MILLIS - 1).is_empty());
    // The write would be run twice if its client sent it again.
    assert_eq!(short(&entries, REMEMBERED_WHEN_SHORT_MILLIS), [2]);
    for entry in &mut entries {
        "config".clone_into(&mut entry.call);
        "conf:a".clone_into(&mut entry.key);
    }
    let at_once: Vec<_> = removable(&entries, 0, Room::Enough).into_iter().collect();
    assert_eq!(at_once, [1, 2]);
}

/// Ten thousand entries, each replaced by one five thousand places later: seconds, if it were done pair by pair.
#[test]
fn i8_the_longest_lineage_is_read_once() {
    let entries: Vec<_> = (1..=10_000)
        .map(|seq| {
            entry(
                seq,
                Class::State,
                &format!("view:name_{}", seq % 5000),
                &format!("make {seq}"),
            )
        })
        .collect();
    let gone = removable(&entries, LATER, Room::Enough);
    assert_eq!(
        gone.into_iter().collect::<Vec<_>>(),
        (1..=5000).collect::<Vec<_>>()
    );
}

#[test]
fn what_cannot_be_searched_counts_as_dependent() {
    let mut entries = vec![
        entry(1, Class::State, "view:v", "select 1"),
        entry(2, Class::State, "view:w", "(\u{b5}"),
        entry(3, Class::State, "view:v", "select 2"),
    ];
    assert_eq!(
        removable(&entries, LATER, Room::Enough)
            .into_iter()
            .collect::<Vec<_>>(),
        [1]
    );
    entries[1].payload = Payload::Blob {
        sha256: String::new(),
        len: 1 << 20,
    };
    assert!(removable(&entries, LATER, Room::Enough).is_empty());
}

#[test]
fn i2_what_is_not_spelled_out_counts_as_dependent() {
    use Class::State;
    let named = |name: &'static str| (State, name, "select 1");
    let indirect = (State, "view:w", "select * from identifier('v' || 1)");
    assert!(gone(&[named("view:v1"), indirect, named("view:v1")]).is_empty());
    let other_case = (State, "view:w", "select * from \u{c9}T\u{c9}");
    let accented = named("view:\u{e9}t\u{e9}");
    assert!(gone(&[accented, other_case, accented]).is_empty());
}

/// A session as far as lineage makes it: confs, and views with what they saw when they were made.
#[derive(Debug, Default, PartialEq, Eq, Clone)]
struct Model {
    confs: BTreeMap<String, String>,
    views: BTreeMap<String, String>,
}

impl Model {
    fn run(&mut self, step: &Step<'_>) {
        match step {
            Step::DropTempView { name, .. } => drop(self.views.remove(name.name())),
            Step::Send(entry) => self.send(entry),
        }
    }

    /// What the session was when the entries ran the first time.
    fn live(&mut self, entry: &LineageEntry) {
        match (entry.class, entry.key.rsplit_once(':').unwrap()) {
            (Class::Write, ("view", name)) => drop(self.views.remove(name)),
            // Else the view is a permanent one.
            (Class::Write, (_, name)) if !self.views.contains_key(name) => {}
            _ => self.send(entry),
        }
    }

    fn send(&mut self, entry: &LineageEntry) {
        let (kind, name) = entry.key.rsplit_once(':').unwrap();
        if kind == "conf" {
            self.confs.insert(name.to_owned(), entry.what.clone());
            return;
        }
        let base = entry.what.split_whitespace().nth(1);
        let seen = base.map(|base| self.views.get(base).cloned().unwrap_or_default());
        let made = format!("{} on {seen:?} under {:?}", entry.what, self.confs);
        self.views.insert(name.to_owned(), made);
    }
}

fn rebuilt(entries: &[LineageEntry]) -> Model {
    let mut model = Model::default();
    replay::plan(entries).iter().for_each(|step| model.run(step));
    model
}

fn step() -> impl Strategy<Value = (Class, String, String)> {
    let name = || prop::sample::select(vec!["va", "vb", "vc"]);
    prop_oneof![
        (prop::sample::select(vec!["ca", "cb"]), 0..9u8).prop_map(|(conf, value)| (
            Class::State,
            format!("conf:{conf}"),
            format!("{value}")
        )),
        (name(), prop::option::of(name()), 0..9u8).prop_map(|(view, base, n)| {
            let text = base.map_or_else(|| format!("{n}"), |base| format!("{n} {base} as {view}"));
            (Class::State, format!("view:{view}"), text)
        }),
        name().prop_map(|view| (Class::Write, format!("view:{view}"), format!("drop {view}"))),
        (name(), prop::option::of(name()), 0..9u8).prop_map(|(view, base, n)| {
            let base = base.filter(|base| *base != view);
            let text = base.map_or_else(|| format!("{n}"), |base| format!("{n} {base} as {view}"));
            (Class::Write, format!("altered:view:{view}"), text)
        }),
    ]
}

proptest! {
    #[test]
    fn i2_a_compacted_lineage_rebuilds_the_same_session(steps in prop::collection::vec(step(), 0..24)) {
        let entries: Vec<_> = (1..)
            .zip(&steps)
            .map(|(seq, (class, key, text))| entry(seq, *class, key, text))
            .collect();
        let gone = removable(&entries, LATER, Room::Enough);
        let kept: Vec<_> = entries.iter().filter(|entry| !gone.contains(&entry.seq)).cloned().collect();
        prop_assert_eq!(rebuilt(&kept), rebuilt(&entries), "removed {:?}", gone);
        let mut lived = Model::default();
        entries.iter().for_each(|entry| lived.live(entry));
        prop_assert_eq!(rebuilt(&entries), lived);
    }
}
