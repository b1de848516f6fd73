//! Random histories against a model: every store does what the simplest one does.

use std::collections::BTreeMap;
use std::time::Duration;

use berth_store::{Compare, Entry, Event, LeaseId, Op, Revision, StoreError, StoreRef, Txn, TxnOutcome};
use futures_util::StreamExt;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::support::{Stage, now, soon};

const KEYS: [&str; 5] = ["a", "a/1", "a/2", "b/1", "b/2"];
const PREFIXES: [&str; 4] = ["", "a/", "b/", "c/"];
const LEASES: usize = 3;

/// A condition or change before keys, leases and revisions are filled in.
#[derive(Debug, Clone)]
enum Step {
    Txn(Vec<When>, Vec<Then>),
    Revoke(usize),
}

#[derive(Debug, Clone)]
enum When {
    Absent(usize),
    Present(usize),
    /// The key's own revision, off by this much.
    Modified(usize, Revision),
    Created(usize, Revision),
}

#[derive(Debug, Clone)]
enum Then {
    Put(usize, u8, Option<usize>),
    Delete(usize),
    DeletePrefix(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = || 0..KEYS.len();
    let when = prop_oneof![
        key().prop_map(When::Absent),
        key().prop_map(When::Present),
        (key(), 0..2i64).prop_map(|(key, off)| When::Modified(key, off)),
        (key(), 0..2i64).prop_map(|(key, off)| When::Created(key, off)),
    ];
    let lease = proptest::option::weighted(0.3, 0..LEASES);
    let then = prop_oneof![
        4 => (key(), any::<u8>(), lease).prop_map(|(key, value, lease)| Then::Put(key, value, lease)),
        2 => key().prop_map(Then::Delete),
        1 => (0..PREFIXES.len()).prop_map(Then::DeletePrefix),
    ];
    let txn = (
        proptest::collection::vec(when, 0..2),
        proptest::collection::vec(then, 0..4),
    );
    let step = prop_oneof![
        12 => txn.prop_map(|(when, then)| Step::Txn(when, then)),
        1 => (0..LEASES).prop_map(Step::Revoke),
    ];
    proptest::collection::vec(step, 1..40)
}

/// The simplest store: all of its past, whole.
struct Model {
    first: Revision,
    states: Vec<BTreeMap<String, Entry>>,
    leases: Vec<LeaseId>,
    ended: Vec<LeaseId>,
}

#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Done(Revision),
    Conflict,
    LeaseGone,
    Refused,
}

impl Model {
    fn now(&self) -> Revision {
        self.first + Revision::try_from(self.states.len()).unwrap() - 1
    }

    fn present(&self) -> &BTreeMap<String, Entry> {
        self.states.last().unwrap()
    }

    fn at(&self, revision: Revision) -> &BTreeMap<String, Entry> {
        &self.states[usize::try_from(revision - self.first).unwrap()]
    }

    fn build(&self, when: &[When], then: &[Then]) -> Txn {
        let entry = |key: &usize| self.present().get(KEYS[*key]);
        let key = |key: &usize| KEYS[*key].to_owned();
        let when = when.iter().map(|when| match when {
            When::Absent(at) => Compare::Absent(key(at)),
            When::Present(at) => Compare::Present(key(at)),
            When::Modified(at, off) => {
                Compare::ModRevision(key(at), entry(at).map_or(0, |entry| entry.mod_revision) + off)
            }
            When::Created(at, off) => {
                Compare::CreateRevision(key(at), entry(at).map_or(0, |entry| entry.create_revision) + off)
            }
        });
        let then = then.iter().map(|then| match then {
            Then::Put(at, value, lease) => Op::Put {
                key: key(at),
                value: vec![*value].into(),
                lease: lease.map(|lease| self.leases[lease]),
            },
            Then::Delete(at) => Op::Delete(key(at)),
            Then::DeletePrefix(prefix) => Op::DeletePrefix(PREFIXES[*prefix].to_owned()),
        });
        Txn {
            when: when.collect(),
            then: then.collect(),
        }
    }

    fn holds(&self, compare: &Compare) -> bool {
        let entry = |key: &String| self.present().get(key);
        match compare {
            Compare::Absent(key) => entry(key).is_none(),
            Compare::Present(key) => entry(key).is_some(),
            Compare::ModRevision(key, at) => entry(key).is_some_and(|entry| entry.mod_revision == *at),
            Compare::CreateRevision(key, at) => entry(key).is_some_and(|entry| entry.create_revision == *at),
        }
    }

    fn apply(&mut self, txn: &Txn) -> Outcome {
        if changes_twice(txn) {
            return Outcome::Refused;
        }
        if !txn.when.iter().all(|compare| self.holds(compare)) {
            return Outcome::Conflict;
        }
        let uses_ended =
            |op: &Op| matches!(op, Op::Put { lease: Some(lease), .. } if self.ended.contains(lease));
        if txn.then.iter().any(uses_ended) {
            return Outcome::LeaseGone;
        }
        let revision = self.now() + 1;
        let mut next = self.present().clone();
        for op in &txn.then {
            match op {
                Op::Put { key, value, lease } => {
                    let create_revision = next.get(key).map_or(revision, |entry| entry.create_revision);
                    let entry = Entry {
                        key: key.clone(),
                        value: value.clone(),
                        create_revision,
                        mod_revision: revision,
                        lease: *lease,
                    };
                    next.insert(key.clone(), entry);
                }
                Op::Delete(key) => drop(next.remove(key)),
                Op::DeletePrefix(prefix) => next.retain(|key, _| !key.starts_with(prefix.as_str())),
            }
        }
        if next != *self.present() {
            self.states.push(next);
        }
        Outcome::Done(self.now())
    }

    fn revoke(&mut self, lease: LeaseId) {
        self.ended.push(lease);
        let mut next = self.present().clone();
        next.retain(|_, entry| entry.lease != Some(lease));
        if next != *self.present() {
            self.states.push(next);
        }
    }
}

fn changes_twice(txn: &Txn) -> bool {
    let touches = |op: &Op, key: &str| match op {
        Op::Put { key: put, .. } => put == key,
        Op::Delete(gone) => gone == key,
        Op::DeletePrefix(prefix) => key.starts_with(prefix.as_str()),
    };
    txn.then.iter().any(|op| match op {
        Op::Put { key, .. } => txn.then.iter().filter(|other| touches(other, key)).count() > 1,
        Op::Delete(_) | Op::DeletePrefix(_) => false,
    })
}

async fn transact(store: &StoreRef, txn: Txn) -> Outcome {
    match store.txn(txn).await {
        Ok(TxnOutcome::Done(revision)) => Outcome::Done(revision),
        Ok(TxnOutcome::Conflict(_)) => Outcome::Conflict,
        Err(StoreError::LeaseGone(_)) => Outcome::LeaseGone,
        Err(StoreError::Exhausted { .. }) => Outcome::Refused,
        Err(other) => panic!("{other}"),
    }
}

async fn run(store: &StoreRef, steps: Vec<Step>) {
    let mut leases = Vec::new();
    for _ in 0..LEASES {
        leases.push(store.grant(Duration::from_secs(600)).await.unwrap());
    }
    let mut model = Model {
        first: now(store).await,
        states: vec![BTreeMap::new()],
        leases,
        ended: Vec::new(),
    };
    for step in steps {
        match step {
            Step::Txn(when, then) => {
                let txn = model.build(&when, &then);
                assert_eq!(transact(store, txn.clone()).await, model.apply(&txn), "{txn:?}");
            }
            Step::Revoke(lease) => {
                let lease = model.leases[lease];
                store.revoke(lease).await.unwrap();
                model.revoke(lease);
            }
        }
    }
    check_past(store, &model).await;
    check_watch(store, &model).await;
    // Leave nothing behind for the next history on the same store.
    store
        .txn(Txn::new().op(Op::DeletePrefix(String::new())))
        .await
        .unwrap();
}

/// Every revision lists as it was.
async fn check_past(store: &StoreRef, model: &Model) {
    assert_eq!(now(store).await, model.now());
    for revision in model.first..=model.now() {
        let page = store.list("", None, 100, Some(revision)).await.unwrap();
        let mut listed = page.entries;
        let mut expected: Vec<_> = model.at(revision).values().cloned().collect();
        // The model knows nothing of a store that was written to before it began.
        listed.sort_by(|a, b| a.key.cmp(&b.key));
        expected.sort_by(|a, b| a.key.cmp(&b.key));
        assert_eq!(listed, expected, "at revision {revision}");
    }
}

/// The changes from the beginning lead to the present, through whole revisions.
async fn check_watch(store: &StoreRef, model: &Model) {
    let mut seen = BTreeMap::new();
    let mut watch = store.watch("", model.first + 1).await.unwrap();
    let mut at = model.first;
    while at < model.now() {
        let batch = soon("a batch", watch.next()).await.unwrap().unwrap();
        for event in batch.events {
            match event {
                Event::Put(entry) => drop(seen.insert(entry.key.clone(), entry)),
                Event::Delete { key, .. } => assert!(seen.remove(&key).is_some(), "{key} was not there"),
            }
        }
        at = batch.revision;
        assert_eq!(&seen, model.at(at), "at revision {at}");
    }
}

fn check(cases: u32, runtime: &tokio::runtime::Runtime, store: impl Fn() -> StoreRef) {
    let config = ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    TestRunner::new(config)
        .run(&steps(), |steps| {
            runtime.block_on(run(&store(), steps));
            Ok(())
        })
        .unwrap();
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

#[test]
fn the_embedded_store_agrees_with_the_model() {
    check(400, &runtime(), || Stage::embedded().store);
}

/// The model is etcd's too: what it allows the embedded store is what etcd does.
#[test]
fn etcd_agrees_with_the_model() {
    let runtime = runtime();
    let stage = runtime.block_on(Stage::etcd());
    check(30, &runtime, || stage.store.clone());
}
