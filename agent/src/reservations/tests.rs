use super::*;
use proptest::prelude::*;
use uuid::Uuid;

#[derive(Debug, Clone)]
enum Step {
    Reserve(u8, u64, Option<(u8, u64, Option<u8>)>),
    Assign(u8, (u8, u64, Option<u8>)),
    Fence(u8, u64),
    Release(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let claim = || (0u8..4, 1u64..6, proptest::option::of(0u8..2));
    let step = prop_oneof![
        (0u8..12, 0u64..60, proptest::option::of(claim())).prop_map(|(d, m, c)| Step::Reserve(d, m, c)),
        (0u8..12, claim()).prop_map(|(d, c)| Step::Assign(d, c)),
        (0u8..4, 1u64..6).prop_map(|(s, floor)| Step::Fence(s, floor)),
        (0u8..12).prop_map(Step::Release),
    ];
    proptest::collection::vec(step, 0..80)
}

fn session(n: u8) -> SessionId {
    SessionId::new(Uuid::from_u128(u128::from(n)))
}

fn driver(n: u8) -> DriverId {
    DriverId::new(Uuid::from_u128(1000 + u128::from(n)))
}

fn epoch(n: u64) -> Epoch {
    Epoch::from_wire(n).unwrap()
}

fn claim((s, e, key): (u8, u64, Option<u8>)) -> Claim {
    Claim {
        session: session(s),
        epoch: epoch(e),
        share_key: key.map(|key| key.to_string()),
    }
}

fn warm(memory: u64) -> Held {
    Held::warm("p".parse().unwrap(), memory)
}

fn node() -> Reservations {
    Reservations::new(100, 5, Floors::default())
}

/// What the shell does with a fence: it ends what is named and takes it off the table.
fn fence(node: &mut Reservations, session: SessionId, floor: Epoch) {
    let outdated = node.fence(session, floor);
    for ended in outdated.drivers {
        node.release(ended);
    }
    for (driver, epoch) in outdated.shared {
        if node.leave(driver, session, epoch) {
            node.release(driver);
        }
    }
}

proptest! {
    #[test]
    fn i1_i6_no_overcommit_and_no_outdated_epoch_after_any_steps(steps in steps()) {
        let mut node = node();
        for step in steps {
            match step {
                Step::Reserve(d, memory, c) if !node.drivers.contains_key(&driver(d)) => {
                    let _ = node.reserve(driver(d), warm(memory), c.map(claim).as_ref());
                }
                Step::Reserve(..) => {}
                Step::Assign(d, c) => {
                    let _ = node.assign(driver(d), &claim(c), 3);
                }
                Step::Fence(s, floor) => fence(&mut node, session(s), epoch(floor)),
                Step::Release(d) => node.release(driver(d)),
            }
            prop_assert!(node.reserved_bytes() <= 100);
            prop_assert!(node.drivers.len() <= 5);
            for held in node.drivers.values() {
                let most = if held.share_key.is_some() { 3 } else { 1 };
                prop_assert!(held.sessions.len() <= most);
                for (id, at) in &held.sessions {
                    prop_assert!(node.floors.get(*id).is_none_or(|floor| *at >= floor));
                }
            }
        }
    }
}

#[test]
fn i1_a_fenced_epoch_is_refused_and_its_driver_named() {
    let mut node = node();
    node.reserve(driver(1), warm(10), Some(&claim((1, 1, None))))
        .unwrap();
    assert_eq!(node.fence(session(1), epoch(2)).drivers, [driver(1)]);
    let stale = Refusal::StaleEpoch {
        asked: epoch(1),
        floor: epoch(2),
    };
    assert_eq!(node.find(session(1), epoch(1)), Err(stale));
    assert_eq!(
        node.reserve(driver(2), warm(10), Some(&claim((1, 1, None)))),
        Err(stale)
    );
    node.release(driver(1));
    node.reserve(driver(2), warm(10), Some(&claim((1, 2, None))))
        .unwrap();
    assert_eq!(node.find(session(1), epoch(2)), Ok(Some(driver(2))));
}

#[test]
fn a_warm_driver_is_given_away_once() {
    let mut node = node();
    node.reserve(driver(1), warm(10), None).unwrap();
    assert_eq!(node.assign(driver(1), &claim((1, 1, None)), 9), Ok(true));
    assert_eq!(node.assign(driver(1), &claim((2, 1, None)), 9), Ok(false));
}

#[test]
fn sessions_share_by_key_and_a_fence_ends_only_what_nobody_else_is_on() {
    let mut node = node();
    node.reserve(driver(1), warm(10), Some(&claim((1, 1, Some(7)))))
        .unwrap();
    assert_eq!(node.assign(driver(1), &claim((2, 1, Some(8))), 2), Ok(false));
    assert_eq!(node.assign(driver(1), &claim((2, 1, Some(7))), 2), Ok(true));
    assert_eq!(node.assign(driver(1), &claim((3, 1, Some(7))), 2), Ok(false));
    assert_eq!(node.fence(session(1), epoch(2)).shared, [(driver(1), epoch(1))]);
    node.leave(driver(1), session(1), epoch(1));
    assert_eq!(node.fence(session(2), epoch(2)).drivers, [driver(1)]);
}

#[test]
fn the_oldest_floors_are_forgotten_first() {
    let mut floors = Floors::default();
    for n in 0..=Floors::MOST as u128 {
        floors.raise(SessionId::new(Uuid::from_u128(n)), epoch(2));
    }
    assert_eq!(floors.get(session(0)), None);
    assert_eq!(floors.get(session(1)), Some(epoch(2)));
    assert_eq!(floors.iter().count(), Floors::MOST);
}

#[test]
fn a_driver_whose_sessions_leave_at_the_same_time_ends_and_nobody_joins_it() {
    let mut node = node();
    let [one, two] = [1, 2].map(|n| claim((n, 1, Some(1))));
    node.reserve(driver(1), warm(10), Some(&one)).unwrap();
    assert!(node.assign(driver(1), &two, 32).unwrap());
    // Each was told that it shares the driver before the other one had left.
    assert_eq!(node.fence(session(1), epoch(2)).shared, [(driver(1), epoch(1))]);
    assert_eq!(node.fence(session(2), epoch(2)).shared, [(driver(1), epoch(1))]);
    assert!(!node.leave(driver(1), session(1), epoch(1)));
    assert!(node.leave(driver(1), session(2), epoch(1)));
    let three = claim((3, 1, Some(1)));
    assert!(!node.assign(driver(1), &three, 32).unwrap());
    node.release(driver(1));

    // The last session is about to be ended with its driver.
    node.reserve(driver(2), warm(10), Some(&three)).unwrap();
    assert_eq!(node.fence(session(3), epoch(2)).drivers, [driver(2)]);
    assert!(!node.assign(driver(2), &claim((0, 1, Some(1))), 32).unwrap());
}
