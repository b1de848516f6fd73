use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::ids::{DriverId, SessionId};
use crate::record::{Dialect, FORMAT, Lifetime, Work};

fn broker(n: u8) -> BrokerId {
    format!("b{n}").parse().unwrap()
}

fn placement(n: u8) -> Placement {
    Placement {
        node: format!("n{n}").parse().unwrap(),
        incarnation: NodeIncarnation::new(Uuid::from_u128(u128::from(n))),
        driver: DriverId::new(Uuid::from_u128(100 + u128::from(n))),
        server_session_id: String::new(),
        application: None,
    }
}

fn opened() -> SessionRecord {
    SessionRecord {
        format: FORMAT,
        id: SessionId::new(Uuid::from_u128(7)),
        dialect: Dialect::Connect,
        work: Work::Session,
        owner: "ann".to_owned(),
        tenant: "t".parse().unwrap(),
        profile: "default".parse().unwrap(),
        client_id: String::new(),
        name: None,
        server_session_id: Uuid::from_u128(8),
        memory_bytes: 1,
        confs: BTreeMap::new(),
        lifetime: Lifetime::default(),
        share: None,
        bound_to: None,
        created_at: 0,
        epoch: Epoch::INITIAL,
        state: SessionState::Placing {
            broker: broker(0),
            from: None,
            cause: None,
            since: 0,
        },
        early_losses: Vec::new(),
        left_out: 0,
        history: Vec::new(),
    }
}

#[test]
fn a_session_is_placed_lost_and_placed_again() {
    let active = placed(opened(), Epoch::INITIAL, placement(1), String::new(), 1).unwrap();
    let left = leave(active, Epoch::INITIAL, broker(1), Cause::DriverLost, 2).unwrap();
    assert_eq!(left.epoch, Epoch::INITIAL.next());
    assert!(matches!(&left.state, SessionState::Placing { from: Some(from), .. } if *from == placement(1)));
    let again = placed(left, Epoch::INITIAL.next(), placement(2), String::new(), 3).unwrap();
    assert!(matches!(again.state, SessionState::Active { .. }));
    assert_eq!(again.history.len(), 3);
}

/// I1: whoever decided under an older epoch cannot write.
#[test]
fn i1_a_stale_broker_is_refused() {
    let taken = take_over(opened(), broker(2), 1).unwrap();
    let late = placed(taken.clone(), Epoch::INITIAL, placement(1), String::new(), 2);
    assert_eq!(
        late,
        Err(TransitionError::Stale {
            current: taken.epoch,
            meant: Epoch::INITIAL
        })
    );
}

#[test]
fn a_closed_id_is_free_only_with_leave_and_never_goes_back_in_epochs() {
    let closed = close(opened(), CloseReason::Client, false, 1).unwrap();
    assert_eq!(
        reopen(closed, Uuid::nil(), broker(1), 2),
        Err(TransitionError::Closed)
    );
    let closed = close(opened(), CloseReason::Client, true, 1).unwrap();
    let again = reopen(closed, Uuid::nil(), broker(1), 2).unwrap();
    assert!(again.epoch > Epoch::INITIAL && again.server_session_id == Uuid::nil());
}

#[test]
fn a_placing_that_was_given_up_can_be_taken_over_in_the_next_epoch() {
    let idle = let_go(opened(), Epoch::INITIAL, 1).unwrap();
    assert!(matches!(&idle.state, SessionState::Placing { broker, .. } if *broker == BrokerId::nobody()));
    let taken = take_over(idle, broker(3), 2).unwrap();
    assert_eq!(taken.epoch, Epoch::INITIAL.next());
}

/// I1: the old place is dead only when its lease is gone or its agent is another one.
#[test]
fn i1_a_place_is_fenced_by_its_lease_or_by_its_agent() {
    let mut node = NodeRecord {
        format: FORMAT,
        id: placement(1).node,
        incarnation: placement(1).incarnation,
        address: String::new(),
        labels: BTreeMap::new(),
        draining: false,
        started_at: 0,
        version: String::new(),
    };
    assert_eq!(fence(&placement(1), Some(&node)), Fence::AskAgent);
    assert_eq!(fence(&placement(1), None), Fence::Proven);
    node.incarnation = placement(2).incarnation;
    assert_eq!(fence(&placement(1), Some(&node)), Fence::Proven);
}

/// A session whose drivers are lost one after another, each `lived` milliseconds after it had it.
fn lost(lives: &[(u64, Cause)]) -> SessionRecord {
    let (mut record, mut now) = (opened(), 0);
    for (lived, cause) in lives {
        let epoch = record.epoch;
        let active = placed(record, epoch, placement(1), String::new(), now).unwrap();
        now += lived;
        record = leave(active, epoch, broker(1), *cause, now).unwrap();
    }
    record
}

/// I8: no recovery is repeated without end.
#[test]
fn i8_code_that_ends_its_drivers_later_on_is_found_out() {
    let early = (EARLY_MILLIS - 1, Cause::DriverLost);
    let third = lost(&[early, (0, Cause::DriverUnhealthy), early]);
    assert!(ends_its_drivers(&third, Some(Epoch::INITIAL)));
    assert!(ends_its_drivers(&third, None));
    // What its client gave to the second driver may have ended that.
    assert!(!ends_its_drivers(&third, Some(Epoch::INITIAL.next())));
    assert!(
        !ends_its_drivers(&lost(&[early, early]), None),
        "it may be chance"
    );
    let survived = lost(&[early, early, (EARLY_MILLIS, Cause::DriverLost), early, early]);
    assert!(!ends_its_drivers(&survived, None), "one lived long");
    let moved = lost(&[early, early, (0, Cause::NodeLost), (0, Cause::Drained)]);
    assert!(
        !ends_its_drivers(&moved, None),
        "those were not the drivers' ends"
    );
    // Epochs rise for other reasons, too: three cells that end their drivers are to blame themselves.
    let cells = lost(&[
        early,
        early,
        early,
        (EARLY_MILLIS, Cause::Drained),
        (0, Cause::NodeLost),
    ]);
    assert!(!ends_its_drivers(&cells, None));
    let last = Epoch::from_wire(third.epoch.get() - 1);
    let waiting = take_over(take_over(third.clone(), broker(1), 1).unwrap(), broker(1), 2).unwrap();
    assert!(ends_its_drivers(&waiting, None) && !ends_its_drivers(&waiting, last));
    let closed = close(third, CloseReason::Client, true, 1).unwrap();
    let again = reopen(closed, Uuid::nil(), broker(1), 2).unwrap();
    assert!(again.early_losses.is_empty());
}

proptest! {
    /// I1, I2, I8: over any events, epochs never fall, each driver has an epoch of its own, and records stay small.
    #[test]
    fn i1_epochs_rise_and_no_two_drivers_share_one(events in proptest::collection::vec((0u8..6, 0u8..4, 0u64..3), 0..60)) {
        let mut record = opened();
        let mut owners = BTreeMap::new();
        for (now, (kind, n, lag)) in events.into_iter().enumerate() {
            let meant = Epoch::from_wire(record.epoch.get().saturating_sub(lag).max(1)).unwrap();
            let before = record.clone();
            let now = now as u64;
            let changed = match kind {
                0 => placed(before, meant, placement(n), String::new(), now),
                1 => leave(before, meant, broker(n), Cause::NodeLost, now),
                2 => take_over(before, broker(n), now),
                3 => close(before, CloseReason::Client, true, now),
                4 => let_go(before, meant, now),
                _ => reopen(before, Uuid::nil(), broker(n), now),
            };
            let Ok(changed) = changed else { continue };
            prop_assert!(changed.epoch >= record.epoch);
            if let SessionState::Active { placement, .. } = &changed.state {
                prop_assert_eq!(owners.insert(changed.epoch, placement.clone()), None);
            }
            prop_assert!(changed.history.len() <= SessionRecord::MAX_HISTORY);
            record = changed;
        }
    }
}
