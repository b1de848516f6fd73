//! etcd killed and started again under load.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use berth_store::lease::Keeper;
use berth_store::{Compare, StoreError, StoreRef, Txn, TxnOutcome, list_all};

use crate::follow::Mirror;
use crate::support::{Server, config, connect, persist, put, soon};

/// What writers were told.
#[derive(Default)]
struct Told {
    done: Cell<u32>,
    unknown: Cell<u32>,
}

/// Adds one to the counter as often as it can until `enough`, never trusting a lost answer.
async fn count(store: &StoreRef, key: &str, told: &Told, enough: &Cell<bool>) {
    while !enough.get() {
        let entry = persist("the counter", || store.get(key)).await.unwrap();
        let next = std::str::from_utf8(&entry.value).unwrap().parse::<u32>().unwrap() + 1;
        let txn = Txn::new()
            .when(Compare::ModRevision(key.to_owned(), entry.mod_revision))
            .put(key, next.to_string());
        match store.txn(txn).await {
            Ok(TxnOutcome::Done(_)) => told.done.set(told.done.get() + 1),
            Ok(TxnOutcome::Conflict(_)) | Err(StoreError::Unavailable { .. }) => {}
            Err(StoreError::Unknown { .. }) => told.unknown.set(told.unknown.get() + 1),
            Err(other) => panic!("{other}"),
        }
    }
}

/// Waits until writers have been told of `more` further successes.
async fn progress(told: &Told, more: u32) {
    let wanted = told.done.get() + more;
    crate::support::eventually("writers get on", || async {
        (told.done.get() >= wanted).then_some(())
    })
    .await;
}

/// I2: what a writer was told of is there, what it was told is unknown was counted once at most.
async fn check_count(store: &StoreRef, key: &str, told: &Told) {
    let entry = store.get(key).await.unwrap().unwrap();
    let counted: u32 = std::str::from_utf8(&entry.value).unwrap().parse().unwrap();
    let (done, unknown) = (told.done.get(), told.unknown.get());
    assert!(counted >= done, "{done} acknowledged, {counted} counted");
    assert!(
        counted <= done + unknown,
        "{counted} counted of {done} and {unknown} unknown"
    );
}

async fn check_mirror(store: &StoreRef, mirror: &mut Mirror) {
    let last = put(store, "c/last", "1").await;
    mirror.until(last).await;
    let (entries, _) = list_all(&**store, "c/").await.unwrap();
    let listed: Vec<_> = entries
        .into_iter()
        .map(|entry| (entry.key, entry.value))
        .collect();
    let mirrored: Vec<_> = mirror.entries.clone().into_iter().collect();
    assert_eq!(mirrored, listed);
}

#[tokio::test]
async fn i2_an_etcd_killed_under_load_loses_nothing_acknowledged() {
    let mut server = Server::start().await;
    let store = server.connect().await;
    put(&store, "c/n", "0").await;
    let keeper = Keeper::start(Arc::clone(&store), Duration::from_secs(5))
        .await
        .unwrap();
    let mut mirror = Mirror::of(&store, "c/");
    let (told, enough) = (Told::default(), Cell::new(false));
    let killing = async {
        for _ in 0..3 {
            progress(&told, 50).await;
            server.kill();
            server.start_again();
        }
        progress(&told, 50).await;
        enough.set(true);
    };
    let writing = futures_util::future::join_all((0..4).map(|_| count(&store, "c/n", &told, &enough)));
    let following = async {
        while !enough.get() {
            mirror.step().await;
        }
    };
    soon(
        "three restarts",
        Box::pin(async { tokio::join!(killing, writing, following) }),
    )
    .await;
    check_count(&store, "c/n", &told).await;
    check_mirror(&store, &mut mirror).await;
    soon("the lease is held", keeper.held()).await;
    keeper.release().await.unwrap();
}

#[tokio::test]
async fn i2_a_cluster_goes_on_without_its_leader() {
    let mut members = Server::cluster(3).await;
    let mut config = config(members.iter().map(Server::url).collect());
    config.request_timeout = Duration::from_millis(800);
    let store = connect(config).await as StoreRef;
    persist("the counter", || store.txn(Txn::new().put("c/n", "0"))).await;
    let keeper = Keeper::start(Arc::clone(&store), Duration::from_secs(10))
        .await
        .unwrap();
    let lease = keeper.held().await;
    let mut mirror = Mirror::of(&store, "c/");
    let (told, enough) = (Told::default(), Cell::new(false));
    let killing = async {
        progress(&told, 20).await;
        let leader = Server::leader_of(&members).await;
        members[leader].kill();
        progress(&told, 20).await;
        members[leader].start_again();
        let leader = Server::leader_of(&members).await;
        members[leader].freeze();
        progress(&told, 20).await;
        members[leader].thaw();
        enough.set(true);
    };
    let writing = futures_util::future::join_all((0..2).map(|_| count(&store, "c/n", &told, &enough)));
    let following = async {
        while !enough.get() {
            mirror.step().await;
        }
    };
    soon(
        "two changes of leader",
        Box::pin(async { tokio::join!(killing, writing, following) }),
    )
    .await;
    check_count(&store, "c/n", &told).await;
    check_mirror(&store, &mut mirror).await;
    assert_eq!(soon("the lease is held", keeper.held()).await, lease);
}
