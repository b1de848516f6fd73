//! Keeping a lease.

use std::sync::Arc;
use std::time::Duration;

use berth_runtime::clock::boot_time;
use berth_store::lease::{Keeper, LeaseState};
use berth_store::{LeaseId, Txn};

use crate::support::{Link, Server, Stage, config, connect, done, eventually, on_every_store, put, soon};

on_every_store! {
    a_kept_lease_outlives_its_time,
    a_lease_that_ended_is_replaced_and_its_holder_told,
    a_released_lease_takes_its_keys_at_once,
    a_dropped_keeper_lets_its_lease_end,
}

const TTL: Duration = Duration::from_secs(3);

async fn keep(stage: &Stage, ttl: Duration) -> (Keeper, LeaseId) {
    let keeper = Keeper::start(Arc::clone(&stage.store), ttl).await.unwrap();
    let lease = keeper.held().await;
    done(&stage.store, Txn::new().put_leased("n/a", "1", lease)).await;
    (keeper, lease)
}

async fn until_absent(stage: &Stage, key: &str) {
    eventually("the key is gone", || async {
        stage.store.get(key).await.unwrap().is_none().then_some(())
    })
    .await;
}

async fn a_kept_lease_outlives_its_time(stage: Stage) {
    let (keeper, lease) = keep(&stage, Duration::from_secs(2)).await;
    let first = keeper.held_until();
    let mut deadlines = keeper.deadlines();
    // By then it has been renewed for longer than it lives.
    let later = deadlines.wait_for(|until| *until > first + Duration::from_secs(3));
    soon("renewals", later).await.unwrap();
    assert_eq!(keeper.state().held(), Some(lease));
    assert_eq!(stage.store.get("n/a").await.unwrap().unwrap().lease, Some(lease));
    assert!(keeper.held_until() <= boot_time() + Duration::from_secs(2) * 4 / 5);
}

async fn a_lease_that_ended_is_replaced_and_its_holder_told(stage: Stage) {
    let (keeper, lease) = keep(&stage, TTL).await;
    let mut states = keeper.states();
    stage.store.revoke(lease).await.unwrap();
    let other = states.wait_for(|state| state.held().is_some_and(|now| now != lease));
    let state = *soon("another lease", other).await.unwrap();
    let next = state.held().unwrap();
    assert_eq!(stage.store.get("n/a").await.unwrap(), None);
    done(&stage.store, Txn::new().put_leased("n/a", "2", next)).await;
    keeper.release().await.unwrap();
    assert_eq!(stage.store.get("n/a").await.unwrap(), None);
}

async fn a_released_lease_takes_its_keys_at_once(stage: Stage) {
    let (keeper, _) = keep(&stage, Duration::from_secs(60)).await;
    keeper.release().await.unwrap();
    assert_eq!(stage.store.get("n/a").await.unwrap(), None);
    assert!(!keeper.is_held());
    assert_eq!(keeper.state(), LeaseState::Lost);
    assert_eq!(keeper.held_until(), Duration::ZERO);
}

async fn a_dropped_keeper_lets_its_lease_end(stage: Stage) {
    let (keeper, _) = keep(&stage, Duration::from_secs(1)).await;
    put(&stage.store, "n/b", "unleased").await;
    drop(keeper);
    until_absent(&stage, "n/a").await;
}

/// I1: the holder knows that its lease may have ended before the store has ended it.
#[tokio::test]
async fn i1_a_holder_that_is_cut_off_stops_before_the_store_lets_go() {
    let server = Server::start().await;
    let store = server.connect().await;
    let link = Link::to(server.port()).await;
    let remote = connect(config(vec![link.url()])).await;
    let keeper = Keeper::start(remote, TTL).await.unwrap();
    let lease = keeper.held().await;
    done(&store, Txn::new().put_leased("n/a", "1", lease)).await;

    link.stall();
    let mut states = keeper.states();
    let lapse = states.wait_for(|state| *state == LeaseState::Lost);
    soon("the lapse", lapse).await.unwrap();
    // Its key is still there: nobody was told that the lease ended.
    assert!(store.get("n/a").await.unwrap().is_some());
    assert!(!keeper.is_held());

    eventually("the store lets go", || async {
        store.get("n/a").await.unwrap().is_none().then_some(())
    })
    .await;
    assert!(!keeper.is_held());
    link.mend();
    let next = soon("another lease", keeper.held()).await;
    assert_ne!(next, lease);
}

/// A short interruption costs nothing: the lease is the same after it, and so are its keys.
#[tokio::test]
async fn a_lease_survives_a_broken_connection() {
    let server = Server::start().await;
    let link = Link::to(server.port()).await;
    let remote = connect(config(vec![link.url()])).await;
    let keeper = Keeper::start(remote, Duration::from_secs(20)).await.unwrap();
    let lease = keeper.held().await;
    link.cut();
    // The next renewal falls into the interruption and is tried again.
    link.tried(2).await;
    renewed_after(&keeper, || link.mend()).await;
    assert_eq!(keeper.state().held(), Some(lease));
    // Worse: the connection falls silent instead of breaking.
    renewed_after(&keeper, || link.strand()).await;
    assert_eq!(keeper.state().held(), Some(lease));
}

async fn renewed_after(keeper: &Keeper, change: impl FnOnce()) {
    let mut deadlines = keeper.deadlines();
    let before = *deadlines.borrow_and_update();
    change();
    let renewed = deadlines.wait_for(|until| *until > before);
    soon("a renewal", renewed).await.unwrap();
}
