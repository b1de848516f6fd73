//! Electing a leader.

use std::sync::Arc;
use std::time::Duration;

use berth_store::election::Election;
use berth_store::lease::Keeper;
use berth_store::{Txn, TxnOutcome};
use futures_util::FutureExt;

use crate::support::{Stage, done, on_every_store, put, soon};

on_every_store! {
    one_is_elected_and_the_next_when_it_resigns,
    i1_a_deposed_leader_can_write_nothing,
    a_leader_whose_key_is_removed_steps_down,
    a_dropped_campaign_leaves_no_trace_that_matters,
    a_leader_that_ends_is_followed_by_another,
}

async fn candidate(stage: &Stage, name: &str, ttl: u64) -> (Election, Keeper) {
    let election = Election::new(Arc::clone(&stage.store), "leader", name.to_owned());
    let keeper = Keeper::start(Arc::clone(&stage.store), Duration::from_secs(ttl))
        .await
        .unwrap();
    (election, keeper)
}

async fn leader(stage: &Stage) -> Option<String> {
    let entry = stage.store.get("leader").await.unwrap()?;
    Some(String::from_utf8_lossy(&entry.value).into_owned())
}

async fn one_is_elected_and_the_next_when_it_resigns(stage: Stage) {
    let (a, a_keeper) = candidate(&stage, "a", 60).await;
    let (b, b_keeper) = candidate(&stage, "b", 60).await;
    let first = soon("an election", a.campaign(&a_keeper)).await.unwrap();
    assert!(first.is_held());
    let mut second = Box::pin(b.campaign(&b_keeper));
    assert!(second.as_mut().now_or_never().is_none());
    assert_eq!(leader(&stage).await.as_deref(), Some("a"));
    let token = first.token();
    first.resign().await.unwrap();
    let second = soon("another election", second).await.unwrap();
    assert!(second.token() > token);
    assert_eq!(leader(&stage).await.as_deref(), Some("b"));
}

/// I1: what a leader still has under way when it is deposed has no effect.
async fn i1_a_deposed_leader_can_write_nothing(stage: Stage) {
    let (a, a_keeper) = candidate(&stage, "a", 60).await;
    let (b, b_keeper) = candidate(&stage, "b", 60).await;
    let deposed = soon("an election", a.campaign(&a_keeper)).await.unwrap();
    done(&stage.store, deposed.guard(Txn::new().put("duty", "a1"))).await;
    let late = deposed.guard(Txn::new().put("duty", "a2"));

    stage.store.revoke(a_keeper.held().await).await.unwrap();
    let elected = soon("another election", b.campaign(&b_keeper)).await.unwrap();
    done(&stage.store, elected.guard(Txn::new().put("duty", "b1"))).await;
    let outcome = stage.store.txn(late).await.unwrap();
    assert!(matches!(outcome, TxnOutcome::Conflict(_)), "{outcome:?}");
    assert_eq!(&stage.store.get("duty").await.unwrap().unwrap().value[..], b"b1");

    soon("the deposed steps down", deposed.lost()).await;
    assert!(elected.is_held());
    // It may stand again, and its old token stays worthless.
    elected.resign().await.unwrap();
    let again = soon("a third election", a.campaign(&a_keeper)).await.unwrap();
    assert!(again.token() > deposed.token());
    let late = deposed.guard(Txn::new().put("duty", "a3"));
    assert!(matches!(
        stage.store.txn(late).await.unwrap(),
        TxnOutcome::Conflict(_)
    ));
}

async fn a_leader_whose_key_is_removed_steps_down(stage: Stage) {
    let (a, keeper) = candidate(&stage, "a", 60).await;
    let leadership = soon("an election", a.campaign(&keeper)).await.unwrap();
    // A neighbour's key, with the election's as its prefix, is none of its business.
    put(&stage.store, "leader-of-another", "x").await;
    done(&stage.store, Txn::new().delete("leader-of-another")).await;
    assert!(leadership.lost().now_or_never().is_none());
    done(&stage.store, Txn::new().delete("leader")).await;
    soon("stepping down", leadership.lost()).await;
}

async fn a_dropped_campaign_leaves_no_trace_that_matters(stage: Stage) {
    let (a, keeper) = candidate(&stage, "a", 60).await;
    // Polled once: the key is made, or perhaps not, and nobody waits for the answer. The embedded store's thread can
    // even answer within that poll; what is elected then is dropped just the same.
    drop(a.campaign(&keeper).now_or_never());
    let leadership = soon("an election", a.campaign(&keeper)).await.unwrap();
    done(&stage.store, leadership.guard(Txn::new().put("duty", "a1"))).await;
}

async fn a_leader_that_ends_is_followed_by_another(stage: Stage) {
    let (a, a_keeper) = candidate(&stage, "a", 1).await;
    let (b, b_keeper) = candidate(&stage, "b", 60).await;
    let first = soon("an election", a.campaign(&a_keeper)).await.unwrap();
    drop(a_keeper);
    soon("the first sees its end", first.lost()).await;
    soon("another election", b.campaign(&b_keeper)).await.unwrap();
    assert!(!first.is_held());
    assert_eq!(leader(&stage).await.as_deref(), Some("b"));
}
