//! The promises of the `Store` trait.

use std::sync::Arc;
use std::time::Duration;

use berth_store::{Batch, Compare, Event, Op, RawWatch, StoreError, StoreRef, Txn, TxnOutcome};
use futures_util::{StreamExt, TryStreamExt};

use crate::support::{Stage, delete_all, done, now, on_every_store, put, soon};

on_every_store! {
    every_kind_of_condition_holds_or_conflicts,
    a_conflict_changes_nothing_and_a_transaction_changes_all,
    a_transaction_that_changes_nothing_spends_no_revision,
    a_key_changed_twice_is_refused,
    i5_racing_counters_lose_no_update,
    a_lease_that_is_not_renewed_ends_and_takes_its_keys,
    a_revoked_lease_takes_its_keys_at_one_revision,
    an_ended_lease_matters_only_where_the_conditions_hold,
    a_watch_resumes_from_a_revision_without_a_gap,
    a_watch_sees_only_its_prefix_and_reports_progress,
    what_is_forgotten_is_reported_as_such,
    a_listing_keeps_to_its_bounds,
    pages_of_a_listing_show_one_state,
}

fn key() -> String {
    "k".to_owned()
}

/// The next batch with events.
async fn next(watch: &mut RawWatch) -> Batch {
    loop {
        let batch = soon("a batch", watch.next()).await.unwrap().unwrap();
        if !batch.events.is_empty() {
            return batch;
        }
    }
}

fn told(event: &Event) -> String {
    match event {
        Event::Put(entry) => format!("+{}", entry.key),
        Event::Delete { key, .. } => format!("-{key}"),
    }
}

/// What the next `count` events say.
async fn next_told(watch: &mut RawWatch, count: usize) -> Vec<String> {
    let mut all = Vec::new();
    while all.len() < count {
        all.extend(next(watch).await.events.iter().map(told));
    }
    all
}

async fn every_kind_of_condition_holds_or_conflicts(stage: Stage) {
    let store = &stage.store;
    let created = put(store, "k", "1").await;
    let changed = put(store, "k", "2").await;
    assert!(changed > created);
    let other = || "other".to_owned();
    let cases = [
        (Compare::Absent(key()), false),
        (Compare::Absent(other()), true),
        (Compare::Present(key()), true),
        (Compare::Present(other()), false),
        (Compare::ModRevision(key(), changed), true),
        (Compare::ModRevision(key(), created), false),
        (Compare::ModRevision(key(), 0), false),
        (Compare::ModRevision(other(), 0), false),
        (Compare::CreateRevision(key(), created), true),
        (Compare::CreateRevision(key(), changed), false),
        (Compare::CreateRevision(other(), 0), false),
    ];
    for (compare, holds) in cases {
        let outcome = store.txn(Txn::new().when(compare.clone())).await.unwrap();
        assert_eq!(matches!(outcome, TxnOutcome::Done(_)), holds, "{compare:?}");
    }
    let entry = store.get("k").await.unwrap().unwrap();
    assert_eq!(
        (entry.create_revision, entry.mod_revision, &entry.value[..]),
        (created, changed, &b"2"[..])
    );
}

async fn a_conflict_changes_nothing_and_a_transaction_changes_all(stage: Stage) {
    let store = &stage.store;
    put(store, "a/1", "x").await;
    let conflict = Txn::new()
        .when(Compare::Absent("a/1".into()))
        .put("b", "y")
        .delete("a/1");
    let before = now(store).await;
    assert_eq!(store.txn(conflict).await.unwrap(), TxnOutcome::Conflict(before));
    assert_eq!(store.get("b").await.unwrap(), None);
    let all = Txn::new().put("b", "y").op(Op::DeletePrefix("a/".into()));
    let revision = done(store, all).await;
    assert_eq!(store.get("a/1").await.unwrap(), None);
    assert_eq!(store.get("b").await.unwrap().unwrap().mod_revision, revision);
}

async fn a_transaction_that_changes_nothing_spends_no_revision(stage: Stage) {
    let store = &stage.store;
    let revision = put(store, "k", "1").await;
    assert_eq!(done(store, Txn::new().delete("none")).await, revision);
    assert_eq!(delete_all(store, "none/").await, revision);
    assert_eq!(now(store).await, revision);
}

async fn a_key_changed_twice_is_refused(stage: Stage) {
    let store = &stage.store;
    let twice = [
        Txn::new().put("k", "1").put("k", "2"),
        Txn::new().put("k/1", "1").op(Op::DeletePrefix("k/".into())),
        Txn::new().delete("k").put("k", "1"),
    ];
    for txn in twice {
        let refused = store.txn(txn.clone()).await;
        assert!(
            matches!(refused, Err(StoreError::Exhausted { .. })),
            "{txn:?}: {refused:?}"
        );
    }
    assert_eq!(store.get("k").await.unwrap(), None);
}

async fn increment(store: &StoreRef) {
    loop {
        let entry = store.get("n").await.unwrap().unwrap();
        let next = std::str::from_utf8(&entry.value).unwrap().parse::<u32>().unwrap() + 1;
        let txn = Txn::new().when(Compare::ModRevision("n".into(), entry.mod_revision));
        if let TxnOutcome::Done(_) = store.txn(txn.put("n", next.to_string())).await.unwrap() {
            return;
        }
    }
}

/// I5: counters that many change at once lose no change.
async fn i5_racing_counters_lose_no_update(stage: Stage) {
    let store = &stage.store;
    put(store, "n", "0").await;
    let tasks = (0..8).map(|_| async move {
        for _ in 0..20 {
            increment(store).await;
        }
    });
    futures_util::future::join_all(tasks).await;
    assert_eq!(&store.get("n").await.unwrap().unwrap().value[..], b"160");
}

async fn a_lease_that_is_not_renewed_ends_and_takes_its_keys(stage: Stage) {
    let store = &stage.store;
    let lease = store.grant(Duration::from_secs(1)).await.unwrap();
    let other = store.grant(Duration::from_secs(60)).await.unwrap();
    let txn = Txn::new()
        .put_leased("n/a", "1", lease)
        .put_leased("n/b", "1", other);
    let revision = done(store, txn).await;
    assert_eq!(store.get("n/a").await.unwrap().unwrap().lease, Some(lease));
    store.renew(lease).await.unwrap();
    let mut watch = store.watch("n/", revision + 1).await.unwrap();
    assert_eq!(next_told(&mut watch, 1).await, ["-n/a"]);
    assert!(matches!(store.renew(lease).await, Err(StoreError::LeaseGone(gone)) if gone == lease));
    let late = store.txn(Txn::new().put_leased("n/a", "2", lease)).await;
    assert!(matches!(late, Err(StoreError::LeaseGone(gone)) if gone == lease));
    store.renew(other).await.unwrap();
    assert!(store.get("n/b").await.unwrap().is_some());
}

async fn a_revoked_lease_takes_its_keys_at_one_revision(stage: Stage) {
    let store = &stage.store;
    let lease = store.grant(Duration::from_secs(60)).await.unwrap();
    let txn = Txn::new()
        .put_leased("n/a", "1", lease)
        .put_leased("n/b", "1", lease)
        .put_leased("n/c", "1", lease);
    done(store, txn).await;
    // Set again without the lease, a key stays.
    let revision = put(store, "n/c", "2").await;
    let mut watch = store.watch("n/", revision + 1).await.unwrap();
    store.revoke(lease).await.unwrap();
    store.revoke(lease).await.unwrap();
    let batch = next(&mut watch).await;
    assert_eq!(
        batch.events.iter().map(told).collect::<Vec<_>>(),
        ["-n/a", "-n/b"]
    );
    assert_eq!(batch.revision, revision + 1);
    assert!(store.get("n/c").await.unwrap().is_some());
    assert!(matches!(store.renew(lease).await, Err(StoreError::LeaseGone(_))));
}

async fn an_ended_lease_matters_only_where_the_conditions_hold(stage: Stage) {
    let store = &stage.store;
    let lease = store.grant(Duration::from_secs(60)).await.unwrap();
    store.revoke(lease).await.unwrap();
    let put = |compare| Txn::new().when(compare).put_leased("k", "1", lease);
    let conflict = store.txn(put(Compare::Present(key()))).await.unwrap();
    assert!(matches!(conflict, TxnOutcome::Conflict(_)));
    let gone = store.txn(put(Compare::Absent(key()))).await;
    assert!(matches!(gone, Err(StoreError::LeaseGone(_))), "{gone:?}");
}

async fn a_watch_resumes_from_a_revision_without_a_gap(stage: Stage) {
    let store = &stage.store;
    let first = put(store, "w/1", "a").await;
    put(store, "other", "x").await;
    put(store, "w/2", "b").await;
    done(store, Txn::new().delete("w/1")).await;
    let mut watch = store.watch("w/", first).await.unwrap();
    assert_eq!(next_told(&mut watch, 3).await, ["+w/1", "+w/2", "-w/1"]);
    let third = put(store, "w/3", "c").await;
    let batch = next(&mut watch).await;
    assert_eq!((batch.revision, batch.events.len()), (third, 1));
    drop(watch);
    put(store, "w/4", "d").await;
    let mut watch = store.watch("w/", third + 1).await.unwrap();
    assert_eq!(next_told(&mut watch, 1).await, ["+w/4"]);
}

async fn a_watch_sees_only_its_prefix_and_reports_progress(stage: Stage) {
    let store = &stage.store;
    let from = now(store).await + 1;
    let mut watch = store.watch("w/", from).await.unwrap();
    put(store, "w", "too short").await;
    put(store, "w0", "past it").await;
    let progress = soon("progress", watch.next()).await.unwrap().unwrap();
    assert_eq!(progress.events, []);
    assert!(progress.revision >= from - 1);
}

async fn what_is_forgotten_is_reported_as_such(stage: Stage) {
    let store = &stage.store;
    let first = put(store, "k", "0").await;
    put(store, "k", "1").await;
    let forgotten = stage.forget().await;
    let listed = store.list("k", None, 10, Some(first)).await;
    assert!(matches!(listed, Err(StoreError::Compacted { wanted, .. }) if wanted <= first + 1));
    let watched = match store.watch("k", first).await {
        Ok(watch) => soon("the end of the watch", watch.try_collect::<Vec<_>>())
            .await
            .unwrap_err(),
        Err(error) => error,
    };
    assert!(
        matches!(watched, StoreError::Compacted { wanted, .. } if wanted == first),
        "{watched}"
    );
    // The way out: list again, watch from there.
    assert!(store.list("k", None, 10, None).await.unwrap().revision >= forgotten);
    let mut watch = store.watch("k", forgotten + 1).await.unwrap();
    put(store, "k", "2").await;
    assert_eq!(next_told(&mut watch, 1).await, ["+k"]);
}

async fn a_listing_keeps_to_its_bounds(stage: Stage) {
    let store = &stage.store;
    for key in ["a", "p/1", "p/2", "p/3", "q"] {
        put(store, key, "v").await;
    }
    type Case = (
        &'static str,
        Option<&'static str>,
        usize,
        &'static [&'static str],
        bool,
    );
    let cases: [Case; 7] = [
        ("p/", None, 9, &["p/1", "p/2", "p/3"], false),
        ("p/", None, 2, &["p/1", "p/2"], true),
        ("p/", Some("p/1"), 2, &["p/2", "p/3"], false),
        ("p/", Some("a"), 1, &["p/1"], true),
        ("p/", Some("q"), 9, &[], false),
        ("", Some("p/3"), 9, &["q"], false),
        ("", None, 9, &["a", "p/1", "p/2", "p/3", "q"], false),
    ];
    for (prefix, after, limit, expected, more) in cases {
        let page = store.list(prefix, after, limit, None).await.unwrap();
        let keys: Vec<_> = page.entries.iter().map(|entry| entry.key.as_str()).collect();
        assert_eq!(
            (&keys[..], page.more),
            (expected, more),
            "{prefix:?} after {after:?}"
        );
    }
}

async fn fill(store: &StoreRef, count: usize) {
    let chunks = (0..count / 100).map(|chunk| {
        let txn = (0..100).fold(Txn::new(), |txn, n| {
            txn.put(format!("p/{:06}", chunk * 100 + n), "v")
        });
        let store = Arc::clone(store);
        async move { done(&store, txn).await }
    });
    let filled = futures_util::stream::iter(chunks).buffer_unordered(16);
    assert_eq!(filled.count().await, count / 100);
}

async fn pages_of_a_listing_show_one_state(stage: Stage) {
    let store = &stage.store;
    fill(store, 100_000).await;
    put(store, "q", "not listed").await;
    let mut keys = Vec::new();
    let (mut after, mut revision) = (None::<String>, None);
    loop {
        let page = store.list("p/", after.as_deref(), 5_000, revision).await.unwrap();
        // Changes between two pages are not seen by the rest of the listing.
        put(store, &format!("p/{:06}x", keys.len()), "new").await;
        let gone = format!("p/{:06}", 99_999 - keys.len() / 5_000);
        done(store, Txn::new().delete(gone)).await;
        keys.extend(page.entries.iter().map(|entry| entry.key.clone()));
        (after, revision) = (keys.last().cloned(), Some(page.revision));
        if !page.more {
            break;
        }
    }
    assert_eq!(keys.len(), 100_000);
    assert!(keys.is_sorted() && keys.iter().all(|key| key.len() == 8));
}
