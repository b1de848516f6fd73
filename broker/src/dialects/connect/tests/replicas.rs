//! Clients that come back through another broker, with nothing in its memory.

use std::sync::Arc;

use berth_core::wire;
use tokio::sync::Semaphore;

use super::super::errors::error_class;
use super::super::rpc::{Rpc, answer};
use super::client::{all, op, read, replica, view, write};
use super::fakes::FakeBackend;
use super::stub::{Step, StubDriver, done, rows};

#[tokio::test]
async fn a_read_goes_on_at_another_replica_where_the_client_left_it() {
    let gate = Arc::new(Semaphore::new(0));
    let mut script = rows(&["a", "b", "c"]);
    script.insert(2, Step::Wait(Arc::clone(&gate)));
    let driver = StubDriver::new(script);
    let backend = FakeBackend::new(&[Arc::clone(&driver)]);
    let client = replica(&backend);
    let mut stream = client.execute(&op(1), &read()).await.unwrap();
    let schema = stream.message().await.unwrap().unwrap();
    let first = stream.message().await.unwrap().unwrap();
    assert_ne!(schema, first);
    let id = wire::last_text(&first, answer::RESPONSE_ID).unwrap().unwrap();

    gate.add_permits(10);
    let (rest, end) = all(replica(&backend).reattach(&op(1), Some(&id)).await.unwrap()).await;
    end.unwrap();
    assert_eq!(rest.batches(), ["b", "c"]);
    assert!(rest.is_complete());
    assert_eq!(driver.calls(Rpc::ExecutePlan).len(), 1);
}

#[tokio::test]
async fn a_finished_state_change_answers_at_another_replica_as_it_did() {
    let driver = StubDriver::new(done());
    let backend = FakeBackend::new(&[Arc::clone(&driver)]);
    all(replica(&backend).execute(&op(1), &view("v")).await.unwrap())
        .await
        .1
        .unwrap();
    let (got, end) = all(replica(&backend).reattach(&op(1), None).await.unwrap()).await;
    end.unwrap();
    assert!(got.is_complete());
    let again = replica(&backend)
        .reattach(&op(1), Some(&got.last_id()))
        .await
        .unwrap();
    assert!(all(again).await.0.messages.is_empty());
    assert_eq!(driver.calls(Rpc::ExecutePlan).len(), 1);
}

#[tokio::test]
async fn i3_a_running_write_is_followed_at_another_replica_and_not_started_again() {
    let gate = Arc::new(Semaphore::new(0));
    let script = vec![
        Step::Wait(Arc::clone(&gate)),
        Step::Send(answer::RESULT_COMPLETE, ""),
    ];
    let driver = StubDriver::new(script);
    let backend = FakeBackend::new(&[Arc::clone(&driver)]);
    let client = replica(&backend);
    let left = client.execute(&op(1), &write()).await.unwrap();
    let other = replica(&backend);
    let following = other.reattach(&op(1), None).await;
    gate.add_permits(10);
    let following = match following {
        Ok(stream) => all(stream).await,
        Err(status) => panic!("{status}"),
    };
    following.1.unwrap();
    assert!(following.0.is_complete());
    assert_eq!(driver.calls(Rpc::ExecutePlan).len(), 1);
    drop(left);
}

#[tokio::test]
async fn an_operation_that_nobody_ever_saw_is_the_clients_to_send_again() {
    let backend = FakeBackend::new(&[StubDriver::new(rows(&["a"]))]);
    let client = replica(&backend);
    client.call(Rpc::Config, client.request()).await.unwrap();
    let (got, end) = all(client.reattach(&op(1), None).await.unwrap()).await;
    assert!(got.messages.is_empty());
    assert_eq!(
        error_class(&end.unwrap_err()).as_deref(),
        Some("INVALID_HANDLE.OPERATION_NOT_FOUND")
    );
    // It does so at once, under the same id.
    let (got, end) = all(client.execute(&op(1), &read()).await.unwrap()).await;
    end.unwrap();
    assert_eq!(got.batches(), ["a"]);
    assert!(got.is_complete());
}

#[tokio::test]
async fn a_result_lost_with_broker_and_driver_is_named_and_not_started_over() {
    let gate = Arc::new(Semaphore::new(0));
    let mut script = rows(&["a", "b"]);
    script.insert(2, Step::Wait(gate));
    let first = StubDriver::new(script);
    let backend = FakeBackend::new(&[Arc::clone(&first), StubDriver::new(rows(&["a", "b"]))]);
    let client = replica(&backend);
    let mut stream = client.execute(&op(1), &read()).await.unwrap();
    stream.message().await.unwrap();
    let one = stream.message().await.unwrap().unwrap();
    let id = wire::last_text(&one, answer::RESPONSE_ID).unwrap().unwrap();
    first.kill();
    let other = replica(&backend);
    let ended = match other.reattach(&op(1), Some(&id)).await {
        Ok(stream) => all(stream).await.1.unwrap_err(),
        Err(status) => status,
    };
    assert_eq!(error_class(&ended).as_deref(), Some("BERTH.RESULT_LOST"));
}

#[tokio::test]
async fn a_plan_sent_to_two_replicas_runs_once_and_the_second_is_told_to_reattach() {
    let driver = StubDriver::new(done());
    let backend = FakeBackend::new(&[Arc::clone(&driver)]);
    all(replica(&backend).execute(&op(1), &write()).await.unwrap())
        .await
        .1
        .unwrap();
    let second = replica(&backend);
    let (_, end) = all(second.execute(&op(1), &write()).await.unwrap()).await;
    assert_eq!(
        error_class(&end.unwrap_err()).as_deref(),
        Some("INVALID_CURSOR.DISCONNECTED")
    );
    let (got, end) = all(second.reattach(&op(1), None).await.unwrap()).await;
    end.unwrap();
    assert!(got.is_complete());
    assert_eq!(driver.calls(Rpc::ExecutePlan).len(), 1);
}
