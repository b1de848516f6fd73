use std::time::Duration;

use berth_core::ids::SessionId;
use bytes::Bytes;
use uuid::Uuid;

use super::super::outbox::{Limits, Outbox};
use super::*;

const LIMITS: Limits = Limits {
    unsent_bytes: MAX_KEPT_BYTES,
    sent_bytes: MAX_KEPT_BYTES,
};

fn session(user: &str) -> SessionId {
    SessionId::for_connect(user, Uuid::nil())
}

fn enter(operations: &Operations, user: &str, id: &str) -> Option<Arc<Operation>> {
    let operation = Arc::new(Operation::new(session(user), id, true, Outbox::new(LIMITS)));
    matches!(operations.enter(&operation), Entered::New).then_some(operation)
}

/// Runs an operation to its end; a moment later than the one before.
async fn run(operations: &Operations, user: &str, id: &str, bytes: usize) -> Arc<Operation> {
    tokio::time::advance(Duration::from_secs(1)).await;
    let operation = enter(operations, user, id).unwrap();
    let message = Bytes::from(vec![0; bytes]).into();
    operation.outbox.push(1, message).await.unwrap();
    operation.outbox.finish(Ok(()));
    operation
}

/// The same, and its client reads it all but never releases it.
async fn read(operations: &Operations, user: &str, id: &str, bytes: usize) {
    let operation = run(operations, user, id, bytes).await;
    let mut reader = operation.outbox.attach(0, "").unwrap();
    while reader.next().await.is_some() {}
}

fn live(operations: &Operations, user: &str) -> Vec<String> {
    let mut ids: Vec<_> = operations
        .of_session(session(user))
        .iter()
        .map(|o| o.id.clone())
        .collect();
    ids.sort();
    ids
}

#[tokio::test(start_paused = true)]
async fn i8_results_that_nobody_releases_give_way_to_new_operations() {
    let operations = Operations::new(3);
    for (user, id) in [
        ("u", "a"),
        ("other", "x"),
        ("u", "b"),
        ("u", "c"),
        ("u", "d"),
        ("u", "e"),
    ] {
        read(&operations, user, id, 1).await;
    }
    assert_eq!(live(&operations, "u"), ["c", "d", "e"]);
    assert_eq!(live(&operations, "other"), ["x"]);
    assert!(matches!(operations.find(session("u"), "a"), Found::Gone));
}

#[tokio::test(start_paused = true)]
async fn i8_results_that_nobody_releases_are_bounded_in_bytes() {
    let operations = Operations::new(1000);
    for id in ["a", "b", "c"] {
        read(&operations, "u", id, MAX_KEPT_BYTES / 2).await;
    }
    assert!(enter(&operations, "u", "d").is_some());
    assert_eq!(live(&operations, "u"), ["b", "c", "d"]);
}

#[tokio::test(start_paused = true)]
async fn i2_what_runs_and_what_was_not_read_stays() {
    let operations = Operations::new(2);
    let _running = enter(&operations, "u", "running").unwrap();
    let _unread = run(&operations, "u", "unread", 1).await;
    assert!(enter(&operations, "u", "third").is_none());
    assert_eq!(live(&operations, "u"), ["running", "unread"]);
}
