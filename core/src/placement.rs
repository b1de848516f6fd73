//! Where a session's driver goes: bin packing with slightly old figures.
//!
//! Simulations (see the design's §9) chose the rule: filter the nodes, look at eight of them at random, prefer one
//! with a warm driver, then spread while memory is plentiful and pack when it is not. The agent has the last word:
//! its refusal costs one round trip, so brokers need no lock.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::NodeId;

/// How many feasible nodes are compared.
const SAMPLE: usize = 8;
/// Share of the cluster's memory in use, in percent, from which on nodes are packed.
const PACK_FROM_PERCENT: u128 = 75;

/// A node as a broker sees it, its own latest reservations included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeView {
    /// Bytes that drivers may reserve.
    pub capacity_bytes: u64,
    /// Bytes reserved.
    pub reserved_bytes: u64,
    /// Drivers that can be started.
    pub free_slots: u32,
    /// Warm drivers of the wanted profile, which a session can have without a new reservation.
    pub warm: u32,
    /// False while it is drained or does not have the profile.
    pub open: bool,
}

/// A decision, with its reason for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Ask this node's agent.
    Placed {
        /// The node.
        node: NodeId,
        /// Why this one.
        reason: &'static str,
    },
    /// No node has room now; one may have later.
    Queued {
        /// Why.
        reason: String,
    },
    /// No node could ever have it.
    Rejected {
        /// Why, and what to do.
        reason: String,
    },
}

/// What a broker knows where it finds no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sight {
    /// The session had a driver before: to refuse it for good would lose its state.
    pub had_driver: bool,
    /// Nodes were left out, since their agents have just refused.
    pub left_out: bool,
    /// A node that is up has not told what it has.
    pub is_partial: bool,
}

impl Sight {
    const fn is_whole(self) -> bool {
        !self.had_driver && !self.left_out && !self.is_partial
    }
}

impl Decision {
    /// The decision as it holds with what is known: nothing is refused for good where more nodes may have been looked
    /// at, nor where a session would be lost by it (I2).
    #[must_use]
    pub fn as_seen(self, sight: Sight) -> Self {
        match self {
            Self::Rejected { reason } if !sight.is_whole() => Self::Queued { reason },
            other => other,
        }
    }
}

/// Refuses a profile that no node offers: it will not come by waiting, as long as any node tells what it offers.
pub fn refuse_profile(profile: &str, offered: &BTreeSet<&str>) -> Option<Decision> {
    if offered.is_empty() || offered.contains(profile) {
        return None;
    }
    let names: Vec<&str> = offered.iter().copied().collect();
    let names = names.join(", ");
    Some(Decision::Rejected {
        reason: format!("no node offers the profile {profile}; there are {names}"),
    })
}

/// Chooses a node for a driver that reserves `memory_bytes`. `random` gives numbers of full range.
pub fn place(
    memory_bytes: u64,
    nodes: &BTreeMap<NodeId, NodeView>,
    mut random: impl FnMut() -> u64,
) -> Decision {
    let mut feasible: Vec<_> = nodes.iter().filter(|(_, node)| node.fits(memory_bytes)).collect();
    if feasible.is_empty() {
        return refuse(memory_bytes, nodes);
    }
    shuffle(&mut feasible, &mut random);
    feasible.truncate(SAMPLE);
    if let Some((id, _)) = feasible.iter().find(|(_, node)| node.warm > 0) {
        return Decision::Placed {
            node: (*id).clone(),
            reason: "it has a warm driver",
        };
    }
    let largest = nodes.values().map(|node| node.capacity_bytes).max().unwrap_or(0);
    let pack = used_percent(nodes) >= PACK_FROM_PERCENT || memory_bytes >= largest / 4;
    // The first of equals wins: the order is random.
    let best = if pack {
        feasible
            .iter()
            .min_by_key(|(_, node)| node.free_bytes() - memory_bytes)
    } else {
        feasible
            .iter()
            .min_by_key(|(_, node)| node.share_after(memory_bytes))
    };
    let reason = if pack {
        "it is left with the least free memory"
    } else {
        "it is the least loaded of the sample"
    };
    match best {
        Some((id, _)) => Decision::Placed {
            node: (*id).clone(),
            reason,
        },
        None => refuse(memory_bytes, nodes),
    }
}

fn refuse(memory_bytes: u64, nodes: &BTreeMap<NodeId, NodeView>) -> Decision {
    let open = nodes.values().filter(|node| node.open);
    match open.map(|node| node.capacity_bytes).max() {
        None => Decision::Queued {
            reason: "no node that offers the profile is up".to_owned(),
        },
        Some(largest) if largest < memory_bytes => Decision::Rejected {
            reason: format!(
                "a driver of {memory_bytes} bytes fits on no node, the largest has {largest}: ask for less memory \
                 or add a larger node"
            ),
        },
        Some(_) => Decision::Queued {
            reason: format!(
                "no node has {memory_bytes} bytes and a slot free: close a session, or add a node"
            ),
        },
    }
}

impl NodeView {
    fn free_bytes(&self) -> u64 {
        self.capacity_bytes.saturating_sub(self.reserved_bytes)
    }

    fn fits(&self, memory_bytes: u64) -> bool {
        self.open && (self.warm > 0 || (self.free_slots > 0 && self.free_bytes() >= memory_bytes))
    }

    /// Reserved share with the driver placed here, in parts of a million.
    fn share_after(&self, memory_bytes: u64) -> u128 {
        let reserved = u128::from(self.reserved_bytes) + u128::from(memory_bytes);
        reserved * 1_000_000 / u128::from(self.capacity_bytes.max(1))
    }
}

fn used_percent(nodes: &BTreeMap<NodeId, NodeView>) -> u128 {
    let capacity: u128 = nodes.values().map(|node| u128::from(node.capacity_bytes)).sum();
    let reserved: u128 = nodes.values().map(|node| u128::from(node.reserved_bytes)).sum();
    reserved * 100 / capacity.max(1)
}

/// Puts up to [`SAMPLE`] randomly chosen items first, in random order.
fn shuffle<T>(items: &mut [T], random: &mut impl FnMut() -> u64) {
    for at in 0..items.len().min(SAMPLE) {
        let left = (items.len() - at) as u64;
        let chosen = usize::try_from(random() % left).unwrap_or(0);
        items.swap(at, at + chosen);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn random(mut seed: u64) -> impl FnMut() -> u64 {
        move || {
            seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed ^ (mixed >> 27)
        }
    }

    fn node(capacity: u64, reserved: u64) -> NodeView {
        NodeView {
            capacity_bytes: capacity,
            reserved_bytes: reserved,
            free_slots: 4,
            warm: 0,
            open: true,
        }
    }

    fn nodes(views: Vec<NodeView>) -> BTreeMap<NodeId, NodeView> {
        views
            .into_iter()
            .enumerate()
            .map(|(n, view)| (format!("n{n:03}").parse().unwrap(), view))
            .collect()
    }

    proptest! {
        #[test]
        fn i6_only_a_node_with_room_is_chosen_and_the_same_seed_chooses_again(
            views in proptest::collection::vec((0u64..100, 0u64..100, 0u32..2, any::<bool>()), 0..30),
            memory in 1u64..60, seed in any::<u64>(),
        ) {
            let views = views.into_iter().map(|(capacity, reserved, slots, open)| {
                NodeView { free_slots: slots, open, ..node(capacity, reserved.min(capacity)) }
            });
            let nodes = nodes(views.collect());
            let decision = place(memory, &nodes, random(seed));
            prop_assert_eq!(&decision, &place(memory, &nodes, random(seed)));
            let possible = nodes.values().any(|node| node.fits(memory));
            match decision {
                Decision::Placed { node, .. } => prop_assert!(nodes[&node].fits(memory)),
                Decision::Queued { .. } | Decision::Rejected { .. } => prop_assert!(!possible),
            }
        }
    }

    proptest! {
        /// I2: only of a session without state, with every node seen, is anything said for good.
        #[test]
        fn i2_nothing_is_refused_for_good_that_another_look_may_place(
            capacities in proptest::collection::vec(0u64..100, 0..5), memory in 1u64..150,
            had_driver in any::<bool>(), left_out in any::<bool>(), is_partial in any::<bool>(),
            profile in prop_oneof![Just("small"), Just("gone")],
        ) {
            let nodes = nodes(capacities.into_iter().map(|capacity| node(capacity, 0)).collect());
            let decide = || refuse_profile(profile, &BTreeSet::from(["large", "small"]))
                .unwrap_or_else(|| place(memory, &nodes, random(1)));
            let (blind, sight) = (decide(), Sight { had_driver, left_out, is_partial });
            let is_whole = !(had_driver || left_out || is_partial);
            match (blind, decide().as_seen(sight)) {
                (Decision::Rejected { reason }, Decision::Queued { reason: told }) => {
                    prop_assert!(!is_whole && reason == told);
                }
                (Decision::Rejected { .. }, told) => prop_assert!(is_whole && told == decide()),
                (before, told) => prop_assert_eq!(before, told),
            }
        }
    }

    #[test]
    fn a_profile_is_refused_once_nodes_tell_that_they_have_others() {
        assert_eq!(refuse_profile("small", &BTreeSet::new()), None);
        assert_eq!(refuse_profile("small", &BTreeSet::from(["small"])), None);
        let Some(Decision::Rejected { reason }) = refuse_profile("small", &BTreeSet::from(["b", "a"])) else {
            panic!("an unknown profile is taken");
        };
        assert_eq!(reason, "no node offers the profile small; there are a, b");
    }

    #[test]
    fn it_spreads_while_memory_is_plentiful_and_packs_when_it_is_not() {
        let plenty = nodes(vec![node(100, 20), node(100, 10), node(100, 30)]);
        assert!(
            matches!(place(5, &plenty, random(1)), Decision::Placed { node, .. } if node.as_str() == "n001")
        );
        let tight = nodes(vec![node(100, 80), node(100, 70), node(100, 94)]);
        assert!(
            matches!(place(5, &tight, random(1)), Decision::Placed { node, .. } if node.as_str() == "n002")
        );
        let large = nodes(vec![node(100, 0), node(100, 60)]);
        assert!(
            matches!(place(30, &large, random(1)), Decision::Placed { node, .. } if node.as_str() == "n001")
        );
    }

    #[test]
    fn a_warm_driver_wins_and_needs_no_room() {
        let warm = NodeView {
            warm: 1,
            free_slots: 0,
            ..node(100, 100)
        };
        let nodes = nodes(vec![node(100, 0), warm]);
        assert!(
            matches!(place(50, &nodes, random(3)), Decision::Placed { node, .. } if node.as_str() == "n001")
        );
    }

    #[test]
    fn what_fits_nowhere_is_rejected_and_what_may_fit_later_waits() {
        assert!(matches!(
            place(200, &nodes(vec![node(100, 0)]), random(1)),
            Decision::Rejected { .. }
        ));
        assert!(matches!(
            place(50, &nodes(vec![node(100, 90)]), random(1)),
            Decision::Queued { .. }
        ));
        assert!(matches!(
            place(50, &nodes(vec![]), random(1)),
            Decision::Queued { .. }
        ));
    }
}
