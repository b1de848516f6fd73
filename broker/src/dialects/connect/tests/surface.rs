//! The service while nothing goes wrong.

use std::sync::Arc;
use std::time::Duration;

use berth_core::lineage::{Class, Outcome};
use berth_core::wire;
use tokio::sync::Semaphore;
use tonic::Code;

use super::super::errors::error_class;
use super::super::rpc::{Rpc, answer};
use super::client::{all, events, op, read, replica, view, write};
use super::fakes::FakeBackend;
use super::stub::{Step, StubDriver, done, rows};

/// connect#4
#[tokio::test]
async fn a_read_passes_with_its_ids_translated_and_leaves_no_record() {
    let driver = StubDriver::new(rows(&["a", "b"]));
    let backend = FakeBackend::new(&[Arc::clone(&driver)]);
    let client = replica(&backend);
    let (got, end) = all(client.execute(&op(1), &read()).await.unwrap()).await;
    end.unwrap();
    assert_eq!(got.batches(), ["a", "b"]);
    assert!(got.is_complete());
    for message in &got.messages {
        assert_eq!(
            wire::last_text(message, 1).unwrap().as_deref(),
            Some(client.session.as_str())
        );
    }
    let shown = got.server_ids();
    assert!(shown.iter().all(|id| *id == shown[0]));
    let asked = driver.calls(Rpc::ExecutePlan);
    let upstream_session = wire::last_text(&asked[0], 1).unwrap().unwrap();
    assert_ne!(
        upstream_session, client.session,
        "each epoch has an upstream session of its own"
    );
    assert!(backend.lineage().is_empty());
}

/// connect#23: the broker reattaches, so that a client need not.
#[tokio::test]
async fn a_stream_that_the_driver_ends_politely_goes_on() {
    let script = vec![
        Step::Send(answer::ARROW_BATCH, "a"),
        Step::End,
        Step::Send(answer::ARROW_BATCH, "b"),
        Step::Send(answer::RESULT_COMPLETE, ""),
    ];
    let driver = StubDriver::new(script);
    let client = replica(&FakeBackend::new(&[Arc::clone(&driver)]));
    let (got, end) = all(client.execute(&op(1), &read()).await.unwrap()).await;
    end.unwrap();
    assert_eq!(got.batches(), ["a", "b"]);
    assert_eq!(driver.calls(Rpc::ReattachExecute).len(), 1);
}

#[tokio::test]
async fn a_state_change_and_a_write_are_recorded_with_their_answers() {
    let driver = StubDriver::new(done());
    let backend = FakeBackend::new(&[driver]);
    let client = replica(&backend);
    all(client.execute(&op(1), &view("v")).await.unwrap())
        .await
        .1
        .unwrap();
    all(client.execute(&op(2), &write()).await.unwrap())
        .await
        .1
        .unwrap();
    client.set_conf("spark.sql.shuffle.partitions").await.unwrap();
    let lineage = backend.lineage();
    let classes: Vec<_> = lineage.iter().map(|entry| entry.class).collect();
    assert_eq!(classes, [Class::State, Class::Write, Class::State]);
    assert!(
        lineage
            .iter()
            .all(|entry| matches!(entry.outcome, Outcome::Succeeded { answer: Some(_) }))
    );
    assert_eq!(lineage[2].key, "conf:spark.sql.shuffle.partitions");
}

#[tokio::test]
async fn an_error_of_the_driver_reaches_the_client_untouched() {
    let driver = StubDriver::new(vec![Step::Fail("[DIVIDE_BY_ZERO] Division by zero.")]);
    let backend = FakeBackend::new(&[driver]);
    let client = replica(&backend);
    let (_, end) = all(client.execute(&op(1), &view("v")).await.unwrap()).await;
    let status = end.unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::Internal, "[DIVIDE_BY_ZERO] Division by zero.")
    );
    assert!(matches!(backend.lineage()[0].outcome, Outcome::Failed { .. }));
    assert!(backend.losses().is_empty());
}

#[tokio::test]
async fn the_same_operation_again_continues_and_another_plan_is_refused() {
    let driver = StubDriver::new(rows(&["a"]));
    let client = replica(&FakeBackend::new(&[Arc::clone(&driver)]));
    all(client.execute(&op(1), &read()).await.unwrap())
        .await
        .1
        .unwrap();
    let (again, end) = all(client.execute(&op(1), &read()).await.unwrap()).await;
    end.unwrap();
    assert_eq!(again.batches(), ["a"]);
    assert_eq!(driver.calls(Rpc::ExecutePlan).len(), 1);
    let refused = client.execute(&op(1), &write()).await.unwrap_err();
    assert_eq!(
        error_class(&refused).as_deref(),
        Some("INVALID_HANDLE.OPERATION_ALREADY_EXISTS")
    );

    client.release_all(&op(1)).await.unwrap();
    let gone = client.execute(&op(1), &read()).await.unwrap_err();
    assert_eq!(
        error_class(&gone).as_deref(),
        Some("INVALID_HANDLE.OPERATION_ABANDONED")
    );
    let gone = client.reattach(&op(1), None).await.unwrap_err();
    assert_eq!(
        error_class(&gone).as_deref(),
        Some("INVALID_HANDLE.OPERATION_NOT_FOUND")
    );
}

#[tokio::test]
async fn a_second_attach_takes_the_stream_over() {
    let gate = Arc::new(Semaphore::new(0));
    let script = vec![
        Step::Send(answer::ARROW_BATCH, "a"),
        Step::Wait(Arc::clone(&gate)),
        Step::Send(answer::ARROW_BATCH, "b"),
        Step::Send(answer::RESULT_COMPLETE, ""),
    ];
    let client = replica(&FakeBackend::new(&[StubDriver::new(script)]));
    let mut first = client.execute(&op(1), &read()).await.unwrap();
    let one = first.message().await.unwrap().unwrap();
    let id = wire::last_text(&one, answer::RESPONSE_ID).unwrap().unwrap();
    let second = client.reattach(&op(1), Some(&id)).await.unwrap();
    let ended = first.message().await.unwrap_err();
    assert_eq!(
        error_class(&ended).as_deref(),
        Some("INVALID_CURSOR.DISCONNECTED")
    );
    gate.add_permits(1);
    let (rest, end) = all(second).await;
    end.unwrap();
    assert_eq!(rest.batches(), ["b"]);
}

#[tokio::test]
async fn wrong_ids_are_refused_in_sparks_words() {
    let client = replica(&FakeBackend::new(&[StubDriver::new(done())]));
    let mut bad = Vec::new();
    wire::append_string(&mut bad, 1, "not-a-uuid");
    let status = client.call(Rpc::Config, bad).await.unwrap_err();
    assert_eq!(error_class(&status).as_deref(), Some("INVALID_HANDLE.FORMAT"));

    let mut changed = client.request();
    wire::append_string(&mut changed, 8, &op(99));
    let status = client.call(Rpc::Config, changed).await.unwrap_err();
    assert_eq!(
        error_class(&status).as_deref(),
        Some("INVALID_HANDLE.SESSION_CHANGED")
    );

    let unknown = client.reattach("x", None).await.unwrap_err();
    assert_eq!(error_class(&unknown).as_deref(), Some("INVALID_HANDLE.FORMAT"));
}

#[tokio::test]
async fn a_released_session_is_closed_unless_it_may_come_back() {
    let client = replica(&FakeBackend::new(&[StubDriver::new(done())]));
    client.call(Rpc::Config, client.request()).await.unwrap();
    let mut again = client.request();
    wire::append_varint(&mut again, 4, 1);
    client.call(Rpc::ReleaseSession, again).await.unwrap();
    client.call(Rpc::Config, client.request()).await.unwrap();
    client.call(Rpc::ReleaseSession, client.request()).await.unwrap();
    let status = client.call(Rpc::Config, client.request()).await.unwrap_err();
    assert_eq!(
        error_class(&status).as_deref(),
        Some("INVALID_HANDLE.SESSION_CLOSED")
    );
}

#[tokio::test]
async fn a_clone_has_the_state_of_its_source() {
    let driver = StubDriver::new(done());
    let backend = FakeBackend::new(&[Arc::clone(&driver)]);
    let client = replica(&backend);
    all(client.execute(&op(1), &view("v")).await.unwrap())
        .await
        .1
        .unwrap();
    let mut request = client.request();
    wire::append_string(&mut request, 4, &op(50));
    let answer = client.call(Rpc::CloneSession, request).await.unwrap();
    assert_eq!(wire::last_text(&answer, 3).unwrap(), Some(op(50)));
    assert!(wire::last_text(&answer, 4).unwrap().is_some());
    assert_eq!(driver.calls(Rpc::ExecutePlan).len(), 2);
    let sessions: Vec<_> = backend.lineage().iter().map(|entry| entry.session).collect();
    assert_ne!(sessions[0], sessions[1]);
}

/// connect#79: a node that drains waits for clients that pause, and not for what never ends.
#[tokio::test(start_paused = true)]
async fn a_session_with_an_open_operation_is_in_use_and_one_that_only_listens_is_not() {
    let (gate, second) = (Arc::new(Semaphore::new(0)), Duration::from_secs(1));
    let mut script = vec![Step::Wait(Arc::clone(&gate))];
    script.extend(rows(&["a"]));
    let driver = StubDriver::new(script);
    let backend = FakeBackend::new(&[driver]);
    let client = replica(&backend);
    let _listens = client.execute(&op(1), &events(true)).await.unwrap();
    tokio::time::sleep(second).await;
    assert_eq!(backend.touches(), 0);
    let reads = client.execute(&op(2), &read()).await.unwrap();
    tokio::time::sleep(second).await;
    assert!(backend.touches() >= 2, "{}", backend.touches());
    gate.add_permits(2);
    all(reads).await.1.unwrap();
    let until_now = backend.touches();
    tokio::time::sleep(second).await;
    assert_eq!(backend.touches(), until_now);
}
