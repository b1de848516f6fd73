//! The promises of the `Store` trait.

use std::sync::Arc;
use std::time::Duration;

use berth_store::embedded::Embedded;
use berth_store::{Compare, Event, Op, Store, StoreError, Txn, TxnOutcome};
use futures_util::StreamExt;

fn store() -> Arc<Embedded> {
    Embedded::in_memory(1_000).unwrap()
}

async fn put(store: &Embedded, key: &str, value: &str) -> i64 {
    let value = value.to_owned();
    match store.txn(Txn::new().put(key, value)).await.unwrap() {
        TxnOutcome::Done(revision) => revision,
        TxnOutcome::Conflict(revision) => panic!("an unconditional put conflicted at {revision}"),
    }
}

#[tokio::test]
async fn every_kind_of_condition_holds_or_conflicts() {
    let store = store();
    let created = put(&store, "k", "1").await;
    let changed = put(&store, "k", "2").await;
    assert!(changed > created);
    let k = || "k".to_owned();
    let cases = [
        (Compare::Absent(k()), false),
        (Compare::Absent("other".to_owned()), true),
        (Compare::Present(k()), true),
        (Compare::Present("other".to_owned()), false),
        (Compare::ModRevision(k(), changed), true),
        (Compare::ModRevision(k(), created), false),
        (Compare::CreateRevision(k(), created), true),
        (Compare::CreateRevision(k(), changed), false),
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

#[tokio::test]
async fn a_conflict_changes_nothing_and_a_transaction_changes_all() {
    let store = store();
    put(&store, "a/1", "x").await;
    let conflict = Txn::new()
        .when(Compare::Absent("a/1".into()))
        .put("b", "y")
        .delete("a/1");
    assert!(matches!(
        store.txn(conflict).await.unwrap(),
        TxnOutcome::Conflict(_)
    ));
    assert_eq!(store.get("b").await.unwrap(), None);
    let all = Txn::new().put("b", "y").op(Op::DeletePrefix("a/".into()));
    let TxnOutcome::Done(revision) = store.txn(all).await.unwrap() else {
        panic!("no condition, no conflict")
    };
    assert_eq!(store.get("a/1").await.unwrap(), None);
    assert_eq!(store.get("b").await.unwrap().unwrap().mod_revision, revision);
}

/// I5: counters that many change at once lose no change.
#[tokio::test]
async fn i5_racing_counters_lose_no_update() {
    let store = store();
    put(&store, "n", "0").await;
    let tasks = (0..16).map(|_| {
        let store = Arc::clone(&store);
        async move {
            for _ in 0..20 {
                loop {
                    let entry = store.get("n").await.unwrap().unwrap();
                    let next: u32 = std::str::from_utf8(&entry.value).unwrap().parse::<u32>().unwrap() + 1;
                    let txn = Txn::new().when(Compare::ModRevision("n".into(), entry.mod_revision));
                    if let TxnOutcome::Done(_) = store.txn(txn.put("n", next.to_string())).await.unwrap() {
                        break;
                    }
                }
            }
        }
    });
    futures_util::future::join_all(tasks).await;
    assert_eq!(&store.get("n").await.unwrap().unwrap().value[..], b"320");
}

#[tokio::test]
async fn a_lease_that_is_not_renewed_ends_and_takes_its_keys() {
    let store = store();
    let lease = store.grant(Duration::from_secs(1)).await.unwrap();
    let other = store.grant(Duration::from_secs(60)).await.unwrap();
    let txn = Txn::new()
        .put_leased("n/a", "1", lease)
        .put_leased("n/b", "1", other);
    let TxnOutcome::Done(revision) = store.txn(txn).await.unwrap() else {
        panic!("no condition, no conflict")
    };
    store.renew(lease).await.unwrap();
    let mut watch = store.watch("n/", revision + 1).await.unwrap();
    let gone = loop {
        let batch = watch.next().await.unwrap().unwrap();
        if let Some(event) = batch.events.first() {
            break event.clone();
        }
    };
    assert!(matches!(gone, Event::Delete { key, .. } if key == "n/a"));
    assert!(matches!(store.renew(lease).await, Err(StoreError::LeaseGone(_))));
    let late = store.txn(Txn::new().put_leased("n/a", "2", lease)).await;
    assert!(matches!(late, Err(StoreError::LeaseGone(_))));
    store.renew(other).await.unwrap();
    store.revoke(other).await.unwrap();
    assert_eq!(store.get("n/b").await.unwrap(), None);
}

#[tokio::test]
async fn a_watch_resumes_from_a_revision_without_a_gap() {
    let store = store();
    let first = put(&store, "w/1", "a").await;
    put(&store, "other", "x").await;
    put(&store, "w/2", "b").await;
    store.txn(Txn::new().delete("w/1")).await.unwrap();
    let mut watch = store.watch("w/", first).await.unwrap();
    let batch = watch.next().await.unwrap().unwrap();
    let keys = batch.events.iter().map(|event| match event {
        Event::Put(entry) => format!("+{}", entry.key),
        Event::Delete { key, .. } => format!("-{key}"),
    });
    assert_eq!(keys.collect::<Vec<_>>(), ["+w/1", "+w/2", "-w/1"]);
    let next = put(&store, "w/3", "c").await;
    let batch = watch.next().await.unwrap().unwrap();
    assert_eq!(batch.revision, next);
    assert_eq!(batch.events.len(), 1);
}

#[tokio::test]
async fn i8_a_log_has_a_bound_and_who_is_behind_it_is_told() {
    let store = Embedded::in_memory(10).unwrap();
    let first = put(&store, "k", "0").await;
    for n in 0..20 {
        put(&store, "k", &n.to_string()).await;
    }
    assert!(matches!(
        store.watch("k", first).await,
        Err(StoreError::Compacted { .. })
    ));
    assert!(matches!(
        store.list("k", None, 10, Some(first)).await,
        Err(StoreError::Compacted { .. })
    ));
}

#[tokio::test]
async fn pages_of_a_listing_show_one_state() {
    let store = Embedded::in_memory(200_000).unwrap();
    for chunk in 0..100 {
        let txn = (0..1_000).fold(Txn::new(), |txn, n| {
            txn.put(format!("p/{:06}", chunk * 1_000 + n), "v")
        });
        store.txn(txn).await.unwrap();
    }
    put(&store, "q", "not listed").await;
    let mut keys = Vec::new();
    let (mut after, mut revision) = (None::<String>, None);
    loop {
        let page = store.list("p/", after.as_deref(), 5_000, revision).await.unwrap();
        // Changes between two pages are not seen by the rest of the listing.
        put(&store, &format!("p/{:06}x", keys.len()), "new").await;
        store
            .txn(Txn::new().delete(format!("p/{:06}", 99_999 - keys.len() / 5_000)))
            .await
            .unwrap();
        keys.extend(page.entries.iter().map(|entry| entry.key.clone()));
        (after, revision) = (keys.last().cloned(), Some(page.revision));
        if !page.more {
            break;
        }
    }
    assert_eq!(keys.len(), 100_000);
    assert!(keys.is_sorted() && keys.iter().all(|key| key.len() == 8));
}
