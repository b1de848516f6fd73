//! More than a driver, a broker or a client takes at once.

use futures_util::future::join_all;
use uuid::Uuid;

use super::*;
use crate::dialects::livy::backend::Backend as _;
use crate::dialects::livy::desk::MAX_OPEN;
use crate::dialects::livy::directory::Directory;
use crate::dialects::livy::kind::Kind;
use crate::dialects::livy::statement::Intent;
use crate::dialects::livy::task::Task;

const STATEMENTS: &str = "/sessions/0/statements";

impl House {
    async fn send(&self, statements: usize) {
        for _ in 0..statements {
            let (status, answer) = self.post(STATEMENTS, json!({ "code": "1" })).await;
            assert_eq!(status, StatusCode::CREATED, "{answer}");
        }
    }

    /// Ends when so many statements wait for a driver.
    async fn all_wait(&self, statements: usize) {
        let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
        let session = self.desk.find("0", "").await.unwrap().session;
        while self.backend.unfinished(session).await.unwrap().waits < statements {
            assert!(
                std::time::Instant::now() < until,
                "some went on: {:?}",
                self.backend.order()
            );
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    }

    async fn all_run(&self, statements: u64) {
        for id in 0..statements {
            let ended = self.wait_for(&format!("{STATEMENTS}/{id}"), "available").await;
            assert_eq!(ended["output"]["status"], "ok", "{ended}");
        }
        assert!(self.backend.order().into_iter().eq(0..statements));
    }
}

/// livy#68: an agent that takes no more than 32 turns none of them away.
/// I2: no client hears of an end that is not written down; once there is room again it is, without a poll.
#[tokio::test(start_paused = true)]
async fn i2_an_end_is_told_when_it_is_written_down() {
    let house = house(1 << 20);
    house.session().await;
    house.post("/sessions/0/statements", json!({ "code": "1" })).await;
    house.backend.keep_no_ends(true);
    house.backend.end_all("1");
    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
    let (_, polled) = house.get("/sessions/0/statements/0").await;
    assert_ne!(polled["state"], "available");
    assert_eq!(house.get("/sessions/0/state").await.1["state"], "busy");
    house.backend.keep_no_ends(false);
    house.wait_for("/sessions/0/state", "idle").await;
    house.wait_for("/sessions/0/statements/0", "available").await;
}

#[tokio::test]
async fn i2_more_statements_than_a_driver_takes_wait_and_run_in_order() {
    let house = house(1 << 20);
    house.session().await;
    house.send(70).await;
    assert_eq!(house.backend.starts(), 16);
    assert_eq!(house.get("/sessions/0/state").await.1["state"], "busy");
    for (id, state) in [(0, "running"), (69, "waiting")] {
        assert_eq!(house.get(&format!("{STATEMENTS}/{id}")).await.1["state"], state);
    }
    // One that waits ends at once.
    house.post(&format!("{STATEMENTS}/69/cancel"), json!({})).await;
    let (_, last) = house.get(&format!("{STATEMENTS}/69")).await;
    assert_eq!(last["state"], "cancelled");
    house.backend.end_all("1");
    house.all_run(69).await;
    house.wait_for("/sessions/0/state", "idle").await;
}

/// livy#68, livy#113: what was taken without a driver runs, however much it is.
#[tokio::test(start_paused = true)]
async fn i2_more_statements_than_a_driver_takes_run_after_a_recovery() {
    let house = house(1 << 20);
    house.session().await;
    house.backend.hold(true);
    house.send(70).await;
    assert_eq!(house.backend.starts(), 0);
    house.backend.end_all("1");
    house.backend.hold(false);
    house.all_run(70).await;
}

/// Each broker knows what the others have given.
#[tokio::test(start_paused = true)]
async fn i4_statements_run_in_order_whichever_broker_takes_them() {
    let house = house(1 << 20);
    let other = house.replica();
    house.session().await;
    house.send(20).await;
    other.send(20).await;
    assert_eq!(house.backend.starts(), 16);
    house.backend.end_all("1");
    house.all_run(40).await;
}

/// There is no other driver for now: what surely did not begin waits on, before what comes later.
#[tokio::test(start_paused = true)]
async fn i2_what_did_not_begin_waits_until_there_is_a_driver() {
    let house = house(1 << 20);
    house.session().await;
    house.backend.fill(true);
    house.backend.refuse_next_start();
    house.send(1).await;
    house.backend.hold(true);
    house.send(2).await;
    assert_eq!(house.get(&format!("{STATEMENTS}/0")).await.1["state"], "waiting");
    house.backend.fill(false);
    house.backend.end_all("1");
    house.backend.hold(false);
    house.all_run(3).await;
}

impl House {
    /// What a broker left that was lost: a statement that it had claimed and not given to the driver yet, and three
    /// that waited.
    async fn leave_four(&self) {
        self.session().await;
        let intent = Intent {
            kind: Kind::Pyspark,
            code: "1".to_owned(),
            task: Task::Statement,
            rows: None,
        };
        let directory = Directory::new(Arc::clone(&self.store) as _);
        let listed = directory.find("0").await.unwrap();
        let seat = self.backend.seat(&listed).await.unwrap();
        self.backend.begin(seat, Uuid::now_v7(), &intent).await.unwrap();
        for _ in 0..3 {
            let enlisted = self.backend.enlist(listed.session, Uuid::now_v7(), &intent);
            assert!(enlisted.await.unwrap().is_some());
        }
    }
}

/// What a lost broker took goes on when somebody asks for the session, in order.
#[tokio::test]
async fn i2_what_a_lost_broker_took_runs_in_order() {
    let house = house(1 << 20);
    house.leave_four().await;
    assert_eq!(house.get("/sessions/0/state").await.1["state"], "busy");
    house.backend.wait_for_starts(4).await;
    house.backend.end_all("1");
    house.all_run(4).await;
}

/// The same if nobody asks: the leader has it attended to.
#[tokio::test]
async fn i2_what_a_lost_broker_took_runs_without_being_asked_for() {
    let house = house(1 << 20);
    house.leave_four().await;
    house.desk.attend("0").await.unwrap();
    house.backend.wait_for_starts(4).await;
    house.backend.end_all("1");
    house.all_run(4).await;
}

/// livy#68: one that finds no driver again and again waits on, and those behind it do not overtake it.
#[tokio::test(start_paused = true)]
async fn i4_what_waits_again_is_not_overtaken() {
    let house = house(1 << 20);
    house.session().await;
    house.send(20).await;
    assert_eq!(house.backend.starts(), 16);
    // The first one meets two drivers that are lost; those behind it could have the next one at once.
    house.backend.hold(true);
    house.backend.lose_before_anything_began(2);
    house.all_wait(20).await;
    house.backend.end_all("1");
    house.backend.hold(false);
    house.all_run(20).await;
}

/// livy#68: what comes while its session gets its next driver is behind what the lost one had.
#[tokio::test]
async fn i4_what_comes_at_a_loss_does_not_overtake() {
    let house = house(1 << 20);
    house.session().await;
    house.send(5).await;
    assert_eq!(house.backend.starts(), 5);
    house.backend.lose_before_anything_began(1);
    house.send(3).await;
    house.backend.end_all("1");
    house.all_run(8).await;
}

/// livy#68, #115: who asks another broker changes neither the order nor what becomes of a statement.
#[tokio::test]
async fn i4_a_broker_that_is_asked_at_a_loss_does_not_give_out_of_turn() {
    let house = house(1 << 20);
    let other = house.replica();
    house.session().await;
    house.send(10).await;
    other.send(10).await;
    house.backend.lose_before_anything_began(2);
    for id in [19, 7, 3, 12] {
        let (status, shown) = other.get(&format!("{STATEMENTS}/{id}")).await;
        assert_eq!(status, StatusCode::OK, "{shown}");
    }
    house.backend.end_all("1");
    other.all_run(20).await;
}

/// What a live broker has begun and not yet given is given by the one that comes next, and before its own.
#[tokio::test]
async fn i4_what_another_broker_has_not_given_yet_comes_first() {
    let house = house(1 << 20);
    house.leave_four().await;
    house.send(2).await;
    house.backend.end_all("1");
    house.all_run(6).await;
}

/// livy#68: beyond that the call itself is refused, and nothing is written down.
#[tokio::test]
async fn i8_a_session_has_so_many_statements_that_have_not_ended() {
    let house = house(1 << 20);
    house.session().await;
    house.send(MAX_OPEN).await;
    let request = Request::post(STATEMENTS)
        .body(Body::from(r#"{"code":"1"}"#))
        .unwrap();
    let refused = house.app.clone().oneshot(request).await.unwrap();
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(refused.headers().contains_key("retry-after"));
    let job = json!({ "job": "eA==", "jobType": "pyspark" });
    let (status, answer) = house.post("/sessions/0/submit-job", job).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    assert!(answer["msg"].as_str().unwrap().contains("1000"), "{answer}");
    house.backend.end_all("1");
    house.wait_for("/sessions/0/state", "idle").await;
    let (status, next) = house.post(STATEMENTS, json!({ "code": "1" })).await;
    assert_eq!((status, &next["id"]), (StatusCode::CREATED, &json!(MAX_OPEN)));
}

/// livy#37: those that come at once do not share the room that is left.
#[tokio::test]
async fn i8_creates_at_once_are_counted() {
    let house = house_of(LivyConfig {
        max_starting: 3,
        ..LivyConfig::default()
    });
    house.backend.hold(true);
    let made = join_all((0..20).map(|_| house.post("/sessions", json!({})))).await;
    let created = made.iter().filter(|(status, _)| *status == StatusCode::CREATED);
    assert_eq!(created.count(), 3);
    assert_eq!(house.get("/sessions").await.1["total"], 3);
}

/// livy#73: a statement is shown by every broker or by none.
#[tokio::test]
async fn an_evicted_statement_is_gone_at_every_broker() {
    let config = || LivyConfig {
        retained_statements: 3,
        ..LivyConfig::default()
    };
    let one = house_of(config());
    let other = house_on(Arc::clone(&one.backend), Arc::clone(&one.store), config());
    one.session().await;
    one.backend.end_all("1");
    one.send(3).await;
    assert_eq!(other.get(&format!("{STATEMENTS}/0")).await.0, StatusCode::OK);
    one.send(1).await;
    for house in [&one, &other] {
        let path = format!("{STATEMENTS}/0");
        assert_eq!(house.get(&path).await.0, StatusCode::NOT_FOUND);
    }
}
