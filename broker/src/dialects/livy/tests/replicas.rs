//! Several brokers on one store, and brokers after a crash.

use std::collections::{BTreeMap, BTreeSet};

use berth_core::ids::{Epoch, SessionId};
use berth_core::record::{CloseReason, Dialect, Lifetime, Record as _, SessionRecord, SessionState, Work};
use berth_store::{Store as _, Txn};
use futures_util::future::join_all;
use uuid::Uuid;

use super::*;
use crate::dialects::livy::directory::Directory;
use crate::dialects::livy::kind::Kind;
use crate::dialects::livy::listed::Listed;
use crate::dialects::livy::refusal::Refusal;

/// livy#109, livy#111, livy#118
#[tokio::test]
async fn i2_the_next_broker_knows_sessions_and_statements() {
    let first = house(1 << 20);
    first
        .post("/sessions", json!({ "name": "mine", "kind": "pyspark" }))
        .await;
    first.wait_for("/sessions/0/state", "idle").await;
    first
        .post("/sessions/0/statements", json!({ "code": "1+1" }))
        .await;
    first.backend.end_all("2");
    let ended = first.wait_for("/sessions/0/statements/0", "available").await;
    first.post("/sessions", json!({})).await;
    first
        .call_as("", Method::DELETE, "/sessions/1", &Value::Null)
        .await;
    let next = first.replica();
    drop(first);
    let (_, session) = next.get("/sessions/mine").await;
    assert_eq!((&session["id"], &session["state"]), (&json!(0), &json!("idle")));
    assert_eq!(next.get("/sessions/0/statements/0").await.1, ended);
    assert_eq!(next.get("/sessions/1").await.0, StatusCode::NOT_FOUND);
    assert_eq!(next.post("/sessions", json!({})).await.1["id"], 2);
}

/// livy#112: the broker that took it died before it had done anything for it.
#[tokio::test]
async fn i2_a_session_that_was_starting_is_usable() {
    let house = house(1 << 20);
    let directory = Directory::new(Arc::clone(&house.store) as _);
    directory.enter(listed(None)).await.unwrap();
    assert_eq!(house.get("/sessions/0/state").await.1["state"], "starting");
    house.wait_for("/sessions/0/state", "idle").await;
}

/// livy#116
#[tokio::test]
async fn i4_brokers_that_create_at_once_give_each_id_and_name_once() {
    let one = house(1 << 20);
    let other = one.replica();
    let houses = [&one, &other];
    let anonymous = (0..20).map(|n| houses[n % 2].post("/sessions", json!({})));
    let ids: BTreeSet<u64> = join_all(anonymous)
        .await
        .iter()
        .map(|(_, made)| made["id"].as_u64().unwrap())
        .collect();
    assert_eq!(ids.len(), 20);
    let named = (0..4).map(|n| houses[n % 2].post("/sessions", json!({ "name": "mine" })));
    let made = join_all(named).await;
    let created = made.iter().filter(|(status, _)| *status == StatusCode::CREATED);
    assert_eq!(created.count(), 1);
}

/// Those of one broker do not contend: none is turned away, however many come at once.
#[tokio::test]
async fn i8_any_number_may_ask_for_an_id_at_once() {
    let house = house(1 << 20);
    let directory = Directory::new(Arc::clone(&house.store) as _);
    let entered = (0..500).map(|_| directory.enter(listed(None)));
    let entered = join_all(entered).await.into_iter();
    let ids: BTreeSet<u32> = entered.map(|made| made.unwrap().0.number).collect();
    assert_eq!(ids.len(), 500);
}

/// A session whose store gave no answer is made once, and its client hears of it.
#[tokio::test(start_paused = true)]
async fn i3_a_lost_answer_of_the_store_makes_one_session() {
    let house = house(1 << 20);
    house.store.lose_answers(1);
    let (status, made) = house.post("/sessions", json!({})).await;
    assert_eq!((status, &made["id"]), (StatusCode::CREATED, &json!(0)));
    assert_eq!(house.get("/sessions").await.1["total"], 1);
}

/// A request that is sent again to another broker.
#[tokio::test]
async fn i3_a_key_is_known_to_every_broker() {
    let one = house(1 << 20);
    let other = one.replica();
    for house in [&one, &other] {
        let request = Request::post("/sessions").header("Idempotency-Key", "k");
        let request = request.body(Body::from("{}")).unwrap();
        let answer = house.app.clone().oneshot(request).await.unwrap();
        assert_eq!(
            (answer.status(), &answer.headers()["location"]),
            (StatusCode::CREATED, &"/sessions/0".parse().unwrap())
        );
    }
    assert_eq!(one.get("/sessions").await.1["total"], 1);
}

/// livy#113: no client waits for a driver.
#[tokio::test(start_paused = true)]
async fn i2_statements_are_taken_while_their_session_has_no_driver() {
    let house = house(1 << 20);
    house.session().await;
    house.post("/sessions/0/statements", json!({ "code": "1" })).await;
    house.backend.hold(true);
    // Its driver has it, and is not to be reached: whether it is followed here or not, its poll is no error.
    let other = house.replica();
    for house in [&house, &other] {
        let (status, polled) = house.get("/sessions/0/statements/0").await;
        assert_eq!((status, &polled["state"]), (StatusCode::OK, &json!("waiting")));
    }
    let before = tokio::time::Instant::now();
    for id in 1..5 {
        let (status, taken) = house.post("/sessions/0/statements", json!({ "code": "1" })).await;
        assert_eq!((status, &taken["id"]), (StatusCode::CREATED, &json!(id)));
        assert_eq!(taken["state"], "waiting");
        assert_eq!(
            house.get(&format!("/sessions/0/statements/{id}")).await.1["state"],
            "waiting"
        );
    }
    let (_, cancelled) = house.post("/sessions/0/statements/3/cancel", json!({})).await;
    assert_eq!(cancelled["msg"], "canceled");
    assert!(before.elapsed() < std::time::Duration::from_secs(5));
    assert_eq!(house.backend.starts(), 1);
    house.backend.end_all("1");
    house.backend.hold(false);
    // What comes later does not overtake them.
    house.post("/sessions/0/statements", json!({ "code": "1" })).await;
    for id in [0, 1, 2, 4, 5] {
        let path = format!("/sessions/0/statements/{id}");
        house.wait_for(&path, "available").await;
    }
    house.wait_for("/sessions/0/statements/3", "cancelled").await;
    assert_eq!(house.backend.order(), [0, 1, 2, 4, 5]);
}

/// livy#113: of several brokers one gives it to a driver, whoever took it.
#[tokio::test(start_paused = true)]
async fn i3_what_waits_runs_once_whichever_broker_finds_it() {
    let one = house(1 << 20);
    one.session().await;
    one.backend.hold(true);
    let key = |house: &House| {
        let request = Request::post("/sessions/0/statements").header("Idempotency-Key", "k");
        let request = request.body(Body::from(r#"{"code":"1"}"#)).unwrap();
        house.app.clone().oneshot(request)
    };
    let other = one.replica();
    for house in [&one, &other] {
        let answer = key(house).await.unwrap();
        assert_eq!(answer.headers()["location"], "/sessions/0/statements/0");
        house.get("/sessions/0/statements/0").await;
    }
    one.backend.end_all("1");
    one.backend.hold(false);
    for house in [&one, &other] {
        house.wait_for("/sessions/0/statements/0", "available").await;
    }
    assert_eq!(one.backend.starts(), 1);
}

fn listed(failed: Option<&str>) -> Listed {
    Listed {
        format: 1,
        number: 0,
        session: SessionId::new(Uuid::now_v7()),
        owner: String::new(),
        tenant: None,
        proxy_user: None,
        kind: Kind::Pyspark,
        request: super::super::request::NewSession::default(),
        failed: failed.map(str::to_owned),
        key: None,
        batch: None,
    }
}

fn record(id: SessionId, state: SessionState) -> SessionRecord {
    SessionRecord {
        format: 1,
        id,
        dialect: Dialect::Livy,
        work: Work::Session,
        owner: String::new(),
        tenant: "default".parse().unwrap(),
        profile: "default".parse().unwrap(),
        client_id: "0".to_owned(),
        name: None,
        server_session_id: Uuid::nil(),
        memory_bytes: 1,
        confs: BTreeMap::new(),
        lifetime: Lifetime::default(),
        share: None,
        bound_to: None,
        created_at: 0,
        epoch: Epoch::INITIAL,
        state,
        early_losses: Vec::new(),
        left_out: 0,
        history: Vec::new(),
    }
}

/// livy#31: the name of a session that an operator has closed, or whose time is over, is free.
#[tokio::test]
async fn a_name_is_free_once_its_session_is_over() {
    let house = house(1 << 20);
    let directory = Directory::new(Arc::clone(&house.store) as _);
    let named = || {
        let mut listed = listed(None);
        listed.request.name = Some("mine".to_owned());
        listed
    };
    let (first, _) = directory.enter(named()).await.unwrap();
    let key = berth_core::keys::session(first.session);
    let closed = |reopen| SessionState::Closed {
        at: 0,
        reason: CloseReason::Operator,
        reopen,
    };
    let placing = SessionState::Placing {
        broker: "b".parse().unwrap(),
        from: None,
        cause: None,
        since: 0,
    };
    for state in [placing, closed(true)] {
        let written = record(first.session, state).encode();
        house
            .store
            .txn(Txn::new().put(key.clone(), written))
            .await
            .unwrap();
        assert!(matches!(
            directory.enter(named()).await,
            Err(Refusal::Rejected(_))
        ));
    }
    let written = record(first.session, closed(false)).encode();
    house.store.txn(Txn::new().put(key, written)).await.unwrap();
    let (next, _) = directory.enter(named()).await.unwrap();
    assert_eq!(directory.find("mine").await.unwrap().number, next.number);
    assert_eq!((first.number, next.number), (0, 1));
}

#[tokio::test]
async fn i8_sessions_that_never_started_are_forgotten_in_the_end() {
    let house = house(1 << 20);
    let directory = Directory::new(Arc::clone(&house.store) as _);
    for failed in [Some("no room"), None] {
        directory.enter(listed(failed)).await.unwrap();
    }
    assert_eq!(directory.forget_failed(0).await, Ok(0), "not yet");
    assert_eq!(directory.forget_failed(u64::MAX).await, Ok(1));
    assert_eq!(house.get("/sessions/0").await.0, StatusCode::NOT_FOUND);
    assert_eq!(house.get("/sessions/1").await.0, StatusCode::OK);
}
