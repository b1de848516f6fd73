//! Code sessions over several brokers: what each of them finds in the store.

use berth_core::lineage::Witness;
use uuid::Uuid;

use super::{Cluster, wanted};
use crate::dialects::connect::backend::Backend as _;
use crate::dialects::livy::backend::{Backend, Given, Open, Seat};
use crate::dialects::livy::kind::Kind;
use crate::dialects::livy::statement::{End, Intent, Statement};
use crate::dialects::livy::task::Task;

fn intent() -> Intent {
    Intent {
        kind: Kind::Pyspark,
        code: "1".to_owned(),
        task: Task::Statement,
        rows: None,
    }
}

fn ids(statements: &[Statement]) -> Vec<u64> {
    statements.iter().map(|statement| statement.id).collect()
}

/// livy#73: whether a statement is shown does not depend on who took those after it.
#[tokio::test]
async fn a_number_is_known_to_every_broker() {
    let cluster = Cluster::new();
    let (a, b) = (cluster.broker("a", 1, 5).await, cluster.broker("b", 1, 5).await);
    let asked = wanted(Uuid::from_u128(1));
    let session = asked.session;
    a.open(asked).await.unwrap_err();
    for number in 0..3 {
        assert_eq!(b.has_had(session, number).await, Ok(false));
        let enlisted = Backend::enlist(&*a, session, Uuid::now_v7(), &intent()).await;
        assert_eq!(enlisted.unwrap().unwrap().0.number, number);
        assert_eq!(b.has_had(session, number).await, Ok(true), "{number}");
    }
}

/// livy#68: one of the brokers gives what waits, and all of them know how much a driver has.
#[tokio::test]
async fn i3_what_waits_is_given_put_back_and_given_up_once() {
    let cluster = Cluster::new();
    let (a, b) = (cluster.broker("a", 1, 5).await, cluster.broker("b", 1, 5).await);
    let asked = wanted(Uuid::from_u128(1));
    let session = asked.session;
    a.open(asked).await.unwrap_err();
    let mut epoch = None;
    for _ in 0..4 {
        let enlisted = a.enlist(session, Uuid::now_v7(), &intent()).await;
        epoch = enlisted.unwrap().map(|(_, epoch)| epoch);
    }
    let first = Seat {
        session,
        epoch: epoch.unwrap(),
    };
    let next = Seat {
        epoch: first.epoch.next(),
        ..first
    };
    assert_eq!(
        (a.claim(first, 0).await, b.claim(first, 0).await),
        (Ok(true), Ok(false))
    );
    assert_eq!(b.claim(first, 1).await, Ok(true));
    let queue = b.queue(session, 3).await.unwrap();
    assert_eq!((queue.waits, ids(&queue.next)), (2, vec![2]));
    let given = |id, epoch| Given { id, epoch };
    assert_eq!(queue.given, [given(0, first.epoch), given(1, first.epoch)]);

    let (agent, claimant) = (Witness::Agent, Witness::Claimant);
    let of = |id| (id, first.epoch);
    assert_eq!(a.put_back(session, of(0), claimant).await, Ok(true));
    assert_eq!(b.put_back(session, of(0), agent).await, Ok(false));
    assert_eq!(ids(&b.queue(session, 16).await.unwrap().next), [0, 2, 3]);
    // Given to its driver by the other one, too: then its claimant alone does not know.
    assert_eq!(a.hand_on(first, 1).await, Ok(true));
    assert_eq!(b.put_back(session, of(1), claimant).await, Ok(false));
    assert_eq!(b.put_back(session, of(1), agent).await, Ok(true));
    assert_eq!(a.claim(next, 1).await, Ok(true));
    let end = End::unknown(1);
    assert_eq!(b.give_up(session, of(1), &end).await, Ok(false));
    assert_eq!(b.run_again(session, (1, next.epoch)).await, Ok(true));
    assert_eq!(a.claim(next, 1).await, Ok(true));
    assert_eq!(a.run_again(session, (1, next.epoch)).await, Ok(false));
    assert_eq!(b.give_up(session, (1, next.epoch), &end).await, Ok(true));
    assert_eq!(a.unfinished(session).await, Ok(Open { given: 0, waits: 3 }));
    // Each broker looks only at what may be open, and finds what others ended and added there.
    for (id, waits) in [(0, 2), (2, 1), (3, 0)] {
        assert_eq!(a.withdraw(session, id, &end).await, Ok(true));
        assert_eq!(b.unfinished(session).await, Ok(Open { given: 0, waits }));
    }
    b.enlist(session, Uuid::now_v7(), &intent()).await.unwrap();
    let queue = a.queue(session, 16).await.unwrap();
    assert_eq!((queue.waits, ids(&queue.next)), (1, vec![4]));
}
