//! Drivers that die at the worst moments.

use std::sync::Arc;

use berth_core::lineage::Outcome;
use berth_core::record::Cause;
use berth_core::wire;
use tokio::sync::Semaphore;

use super::super::errors::error_class;
use super::super::rpc::{Rpc, answer};
use super::client::{Client, all, events, op, read, replica, view, write};
use super::fakes::FakeBackend;
use super::stub::{Step, StubDriver, dies_after, done, rows};

#[tokio::test]
async fn a_read_cut_in_the_middle_goes_on_without_loss_or_repeat() {
    let first = StubDriver::new(dies_after(&["a", "b"]));
    let second = StubDriver::new(rows(&["a", "b", "c"]));
    let client = replica(&FakeBackend::new(&[first, second]));
    let (got, end) = all(client.execute(&op(1), &read()).await.unwrap()).await;
    end.unwrap();
    assert_eq!(got.batches(), ["a", "b", "c"]);
    assert!(got.is_complete());
    let shown = got.server_ids();
    assert!(
        shown.iter().all(|id| *id == shown[0]),
        "one server-side id over both drivers"
    );
}

#[tokio::test]
async fn a_result_that_differs_the_second_time_is_an_error_and_never_mixed() {
    let first = StubDriver::new(dies_after(&["a", "b"]));
    let second = StubDriver::new(rows(&["b", "a", "c"]));
    let client = replica(&FakeBackend::new(&[first, second]));
    let (got, end) = all(client.execute(&op(1), &read()).await.unwrap()).await;
    let class = error_class(&end.unwrap_err());
    assert_eq!(class.as_deref(), Some("BERTH.RESULT_NOT_DETERMINISTIC"));
    assert_eq!(got.batches(), ["a", "b"]);
}

#[tokio::test]
async fn i3_a_write_cut_in_the_middle_is_unknown_and_never_run_again() {
    let first = StubDriver::new(vec![Step::Send(answer::PROGRESS, ""), Step::Die]);
    let second = StubDriver::new(done());
    let backend = FakeBackend::new(&[first, Arc::clone(&second)]);
    let client = replica(&backend);
    let (_, end) = all(client.execute(&op(1), &write()).await.unwrap()).await;
    assert_eq!(
        error_class(&end.unwrap_err()).as_deref(),
        Some("BERTH.OUTCOME_UNKNOWN")
    );
    assert!(second.calls(Rpc::ExecutePlan).is_empty());

    // The client asks again, here and at another replica: the same answer, and still no second run.
    for replica in [&client, &replica(&backend)] {
        let ended = match replica.reattach(&op(1), None).await {
            Ok(stream) => all(stream).await.1.unwrap_err(),
            Err(status) => status,
        };
        assert_eq!(error_class(&ended).as_deref(), Some("BERTH.OUTCOME_UNKNOWN"));
    }
    assert!(second.calls(Rpc::ExecutePlan).is_empty());
}

#[tokio::test]
async fn i3_a_write_that_was_begun_is_not_run_again_where_a_driver_refuses_to_go_on_with_it() {
    // Its session is moved away, which closes it there, between two streams of the write.
    for heard in [true, false] {
        let mut script = vec![Step::Send(answer::PROGRESS, ""); usize::from(heard)];
        script.push(Step::Close);
        let second = StubDriver::new(done());
        let backend = FakeBackend::new(&[StubDriver::new(script), Arc::clone(&second)]);
        let (_, end) = all(replica(&backend).execute(&op(1), &write()).await.unwrap()).await;
        let class = error_class(&end.unwrap_err());
        assert_eq!(class.as_deref(), Some("BERTH.OUTCOME_UNKNOWN"));
        assert!(second.calls(Rpc::ExecutePlan).is_empty());
    }
}

#[tokio::test]
async fn a_write_after_an_idle_drivers_death_runs_on_the_next_one() {
    let first = StubDriver::new(done());
    let second = StubDriver::new(done());
    let client = replica(&FakeBackend::new(&[Arc::clone(&first), Arc::clone(&second)]));
    client.call(Rpc::Config, client.request()).await.unwrap();
    first.kill();
    all(client.execute(&op(1), &write()).await.unwrap())
        .await
        .1
        .unwrap();
    assert_eq!(second.calls(Rpc::ExecutePlan).len(), 1);
}

#[tokio::test]
async fn a_state_change_cut_in_the_middle_happens_once_on_the_next_driver() {
    let first = StubDriver::new(vec![Step::Send(answer::PROGRESS, ""), Step::Die]);
    let second = StubDriver::new(done());
    let backend = FakeBackend::new(&[first, Arc::clone(&second)]);
    let client = replica(&backend);
    let (got, end) = all(client.execute(&op(1), &view("v")).await.unwrap()).await;
    end.unwrap();
    assert!(got.is_complete());
    assert_eq!(
        second.calls(Rpc::ExecutePlan).len(),
        1,
        "the rebuild ran it at its place"
    );
    assert!(matches!(backend.lineage()[0].outcome, Outcome::Succeeded { .. }));
}

#[tokio::test]
async fn views_confs_and_uploads_are_there_after_a_loss() {
    let first = StubDriver::new(done());
    let second = StubDriver::new(done());
    let client = replica(&FakeBackend::new(&[Arc::clone(&first), Arc::clone(&second)]));
    client.set_conf("a.b").await.unwrap();
    all(client.execute(&op(1), &view("v")).await.unwrap())
        .await
        .1
        .unwrap();
    let mut upload = client.request();
    let mut chunk = Vec::new();
    wire::append_string(&mut chunk, 1, "cache/abc");
    wire::append_bytes(&mut upload, 4, &chunk);
    client.call(Rpc::AddArtifacts, upload).await.unwrap();
    first.kill();
    client.call(Rpc::AnalyzePlan, client.request()).await.unwrap();
    assert_eq!(second.calls(Rpc::Config).len(), 1);
    assert_eq!(second.calls(Rpc::ExecutePlan).len(), 1);
    assert_eq!(second.calls(Rpc::AddArtifacts).len(), 1);
    let replayed = wire::last_text(&second.calls(Rpc::ExecutePlan)[0], 6).unwrap();
    assert_ne!(replayed, Some(op(1)), "a replay has an operation id of its own");
}

#[tokio::test]
async fn a_statement_that_kills_two_drivers_is_given_up() {
    let killers = [StubDriver::new(vec![Step::Die]), StubDriver::new(vec![Step::Die])];
    let third = StubDriver::new(rows(&["a"]));
    let drivers = [
        Arc::clone(&killers[0]),
        Arc::clone(&killers[1]),
        Arc::clone(&third),
    ];
    let client = replica(&FakeBackend::new(&drivers));
    let (_, end) = all(client.execute(&op(1), &read()).await.unwrap()).await;
    assert_eq!(
        error_class(&end.unwrap_err()).as_deref(),
        Some("BERTH.STATEMENT_KILLS_DRIVER")
    );
    assert!(third.calls(Rpc::ExecutePlan).is_empty());
    client.call(Rpc::Config, client.request()).await.unwrap();
}

/// Sends what a driver sends first for the events of queries, and then what is asked for.
fn listens_then(step: Step) -> Vec<Step> {
    vec![Step::Send(answer::LISTENER_EVENTS, ""), step]
}

#[tokio::test]
async fn what_only_waits_is_not_blamed_for_the_drivers_that_it_outlives() {
    let last = StubDriver::new(done());
    let mut drivers: Vec<_> = (0..3).map(|_| StubDriver::new(listens_then(Step::Die))).collect();
    drivers.push(Arc::clone(&last));
    let client = replica(&FakeBackend::new(&drivers));
    let (got, end) = all(client.execute(&op(1), &events(true)).await.unwrap()).await;
    end.unwrap();
    assert!(got.is_complete());
    assert_eq!(last.calls(Rpc::ExecutePlan).len(), 1);
}

#[tokio::test]
async fn events_are_ended_on_a_driver_only_after_they_began_there() {
    let gate = Arc::new(Semaphore::new(0));
    let first = StubDriver::new(listens_then(Step::Die));
    let begin = vec![
        Step::Wait(Arc::clone(&gate)),
        Step::Send(answer::LISTENER_EVENTS, ""),
        done().remove(0),
    ];
    let second = StubDriver::new(begin);
    let backend = FakeBackend::new(&[first, Arc::clone(&second)]);
    let client = replica(&backend);
    let mut opened = client.execute(&op(1), &events(true)).await.unwrap();
    opened.message().await.unwrap().unwrap();
    // It waits at the second driver; now comes what is to end it.
    while second.calls(Rpc::ExecutePlan).is_empty() {
        tokio::task::yield_now().await;
    }
    let closed = client.execute(&op(2), &events(false)).await.unwrap();
    for _other_tasks in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(second.calls(Rpc::ExecutePlan).len(), 1, "it is held back");
    gate.add_permits(2);
    all(closed).await.1.unwrap();
    let (got, end) = all(opened).await;
    end.unwrap();
    assert!(got.is_complete());
    assert_eq!(second.calls(Rpc::ExecutePlan).len(), 2);
}

#[tokio::test]
async fn events_that_were_ended_do_not_begin_again() {
    let gate = Arc::new(Semaphore::new(0));
    let first = StubDriver::with_endless(listens_then(done().remove(0)), Some(op(1)));
    let second = StubDriver::new(vec![Step::Wait(gate)]);
    let client = replica(&FakeBackend::new(&[Arc::clone(&first), Arc::clone(&second)]));
    let mut opened = client.execute(&op(1), &events(true)).await.unwrap();
    opened.message().await.unwrap().unwrap();
    all(client.execute(&op(2), &events(false)).await.unwrap())
        .await
        .1
        .unwrap();
    // The driver has ended them, and dies before it says so.
    first.kill();
    first.cut();
    let (got, end) = all(opened).await;
    end.unwrap();
    assert!(got.is_complete());
    assert!(second.calls(Rpc::ExecutePlan).is_empty());
}

#[tokio::test]
async fn a_stopped_spark_context_is_a_loss_and_not_an_answer() {
    let first = StubDriver::new(vec![Step::Fail("Cannot call methods on a stopped SparkContext.")]);
    let second = StubDriver::new(rows(&["a"]));
    let backend = FakeBackend::new(&[first, second]);
    let client = replica(&backend);
    let (got, end) = all(client.execute(&op(1), &read()).await.unwrap()).await;
    end.unwrap();
    assert_eq!(got.batches(), ["a"]);
    assert_eq!(backend.losses(), [Cause::DriverUnhealthy]);
}

#[tokio::test]
async fn no_driver_left_is_said_with_a_time_to_come_back() {
    let only = StubDriver::new(done());
    let client = replica(&FakeBackend::new(&[Arc::clone(&only)]));
    client.call(Rpc::Config, client.request()).await.unwrap();
    only.kill();
    let status = client.call(Rpc::Config, client.request()).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unavailable);
    assert!(!status.details().is_empty(), "RetryInfo");
}

fn interrupt_all(client: &Client) -> Vec<u8> {
    let mut all_of_them = client.request();
    wire::append_varint(&mut all_of_them, 4, 1);
    all_of_them
}

#[tokio::test]
async fn i3_a_write_that_was_interrupted_or_released_while_it_waited_never_runs() {
    for releases in [false, true] {
        let first = StubDriver::new(done());
        let second = StubDriver::new(done());
        let backend = FakeBackend::new(&[Arc::clone(&first), Arc::clone(&second)]);
        let client = replica(&backend);
        client.call(Rpc::Config, client.request()).await.unwrap();
        first.kill();
        let held = backend.hold().await;
        let stream = client.execute(&op(1), &write()).await.unwrap();
        while !backend.is_asked() {
            tokio::task::yield_now().await;
        }
        if releases {
            client.release_all(&op(1)).await.unwrap();
        } else {
            client.call(Rpc::Interrupt, interrupt_all(&client)).await.unwrap();
        }
        drop(held);
        let (_, end) = all(stream).await;
        if !releases {
            let class = error_class(&end.unwrap_err());
            assert_eq!(class.as_deref(), Some("OPERATION_CANCELED"));
        }
        client.call(Rpc::AnalyzePlan, client.request()).await.unwrap();
        for _other_tasks in 0..100 {
            tokio::task::yield_now().await;
        }
        assert!(second.calls(Rpc::ExecutePlan).is_empty());
        assert!(backend.lineage().is_empty());
    }
}

#[tokio::test]
async fn i3_a_write_that_may_have_run_is_not_called_interrupted() {
    let first = StubDriver::with_endless(vec![Step::Send(answer::PROGRESS, "")], Some(op(1)));
    let backend = FakeBackend::new(&[Arc::clone(&first), StubDriver::new(done())]);
    let client = replica(&backend);
    let mut stream = client.execute(&op(1), &write()).await.unwrap();
    stream.message().await.unwrap().unwrap();
    let held = backend.hold().await;
    first.kill();
    first.cut();
    while !backend.is_asked() {
        tokio::task::yield_now().await;
    }
    client.call(Rpc::Interrupt, interrupt_all(&client)).await.unwrap();
    let (_, end) = all(stream).await;
    assert_eq!(
        error_class(&end.unwrap_err()).as_deref(),
        Some("BERTH.OUTCOME_UNKNOWN")
    );
    drop(held);
}

#[tokio::test]
async fn an_interrupt_reaches_what_waits_and_what_runs() {
    let gate = Arc::new(Semaphore::new(0));
    let script = vec![Step::Send(answer::ARROW_BATCH, "a"), Step::Wait(gate)];
    let driver = StubDriver::with_endless(script, Some(op(1)));
    let backend = FakeBackend::new(&[Arc::clone(&driver)]);
    let client = replica(&backend);
    let mut waits = client.execute(&op(1), &read()).await.unwrap();
    waits.message().await.unwrap().unwrap();
    let mut runs = client.execute(&op(2), &read()).await.unwrap();
    runs.message().await.unwrap().unwrap();
    let held = backend.hold().await;
    driver.cut();
    while !backend.is_asked() {
        tokio::task::yield_now().await;
    }
    let answer = client.call(Rpc::Interrupt, interrupt_all(&client)).await.unwrap();
    let told = wire::all_bytes(&answer, 2).unwrap();
    assert_eq!(told, [StubDriver::INTERRUPTED.as_bytes(), op(1).as_bytes()]);
    assert_eq!(driver.calls(Rpc::Interrupt).len(), 1);
    let class = error_class(&all(waits).await.1.unwrap_err());
    assert_eq!(class.as_deref(), Some("OPERATION_CANCELED"));
    drop(held);
}

#[tokio::test]
async fn an_operation_that_waits_for_a_driver_can_be_interrupted() {
    let first = StubDriver::new(dies_after(&["a"]));
    let second = StubDriver::new(rows(&["a"]));
    let backend = FakeBackend::new(&[first, Arc::clone(&second)]);
    let client = replica(&backend);
    client.call(Rpc::Config, client.request()).await.unwrap();
    let operation = op(1);
    let stream = client.execute(&operation, &read()).await.unwrap();
    let held = backend.hold().await;
    while !backend.is_asked() {
        tokio::task::yield_now().await;
    }
    let answer = client.call(Rpc::Interrupt, interrupt_all(&client)).await.unwrap();
    assert_eq!(wire::last_text(&answer, 2).unwrap(), Some(op(1)));
    let (got, end) = all(stream).await;
    assert_eq!(got.batches(), ["a"]);
    assert_eq!(
        error_class(&end.unwrap_err()).as_deref(),
        Some("OPERATION_CANCELED")
    );
    drop(held);
    assert!(second.calls(Rpc::ExecutePlan).is_empty());
}
