//! How operations stand, over the drivers of a session.

use std::sync::Arc;

use berth_core::wire;
use tokio::sync::Semaphore;

use super::super::rpc::{Rpc, answer};
use super::client::{Client, all, op, read, replica};
use super::fakes::FakeBackend;
use super::stub::{Step, StubDriver, dies_after, rows};

const RUNNING: u64 = 2;
const SUCCEEDED: u64 = 4;

/// What GetStatus says of these operations, or of all with none.
async fn status(client: &Client, ids: &[&str]) -> Vec<(String, u64)> {
    let mut request = client.request();
    let mut asked = Vec::new();
    for id in ids {
        wire::append_string(&mut asked, 1, id);
    }
    wire::append_bytes(&mut request, 5, &asked);
    let answer = client.call(Rpc::GetStatus, request).await.unwrap();
    assert_eq!(
        wire::last_text(&answer, 1).unwrap().as_deref(),
        Some(client.session.as_str())
    );
    let mut told: Vec<_> = wire::all_bytes(&answer, 3)
        .unwrap()
        .into_iter()
        .map(|status| {
            let id = wire::last_text(status, 1).unwrap().unwrap();
            (id, wire::last_varint(status, 2).unwrap().unwrap())
        })
        .collect();
    told.sort();
    told
}

/// connect#39
#[tokio::test]
async fn operations_of_all_epochs_stand_under_the_clients_ids() {
    let gate = Arc::new(Semaphore::new(0));
    let first = StubDriver::new(dies_after(&["a"]));
    let second = StubDriver::new(vec![
        Step::Send(answer::SCHEMA, "schema"),
        Step::Send(answer::ARROW_BATCH, "a"),
        Step::Send(answer::ARROW_BATCH, "b"),
        Step::Wait(Arc::clone(&gate)),
        Step::Send(answer::RESULT_COMPLETE, ""),
    ]);
    let third = StubDriver::new(rows(&["c"]));
    let client = replica(&FakeBackend::new(&[first, Arc::clone(&second), third]));
    let mut reading = client.execute(&op(1), &read()).await.unwrap();
    for expected in [None, Some("a"), Some("b")] {
        let message = reading.message().await.unwrap().unwrap();
        let batch = wire::last_text(&message, answer::ARROW_BATCH).unwrap();
        assert_eq!(batch.as_deref(), expected);
    }
    assert_eq!(status(&client, &[&op(1)]).await, [(op(1), RUNNING)]);
    assert_eq!(status(&client, &[]).await, [(op(1), RUNNING)]);

    gate.add_permits(1);
    all(reading).await.1.unwrap();
    second.kill();
    for asked in [&[op(1).as_str()][..], &[]] {
        assert_eq!(status(&client, asked).await, [(op(1), SUCCEEDED)]);
    }
}
