//! Chooses the node that is asked for a driver, and what it is asked for.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use berth_core::ids::NodeId;
use berth_core::placement::{Decision, Sight, place, refuse_profile};
use berth_core::record::{NodeRecord, SessionRecord, SessionState, Work};
use berth_core::share::{self, Level};
use berth_proto::agent::ShareLevel;

use super::{Miss, Placer};
use crate::dialects::connect::backend::Refusal;
use crate::dialects::livy::replay::Policy;
use crate::fleet::Node;

/// A node, and what its agent is asked for.
pub(super) struct Choice {
    pub(super) node: NodeRecord,
    pub(super) reason: &'static str,
    /// 0 for the node's own figure.
    pub(super) memory_bytes: u64,
    /// Empty for a driver of one's own.
    pub(super) share_key: String,
    /// Confs that the driver starts with.
    pub(super) static_confs: HashMap<String, String>,
    /// Confs that are set on the session once its driver is there.
    pub(super) session_confs: BTreeMap<String, String>,
}

impl Placer {
    pub(super) fn choose(&self, record: &SessionRecord, tried: &BTreeSet<NodeId>) -> Result<Choice, Miss> {
        let nodes = self.fleet.nodes();
        let sight = Sight {
            had_driver: !is_first(record),
            left_out: !tried.is_empty(),
            is_partial: nodes.iter().any(|node| node.load.is_none()),
        };
        let static_confs = static_confs(record);
        // No warm driver will do.
        let is_cold = !static_confs.is_empty() || record.work == Work::Batch;
        let untried = nodes.iter().filter(|node| !tried.contains(&node.record.id));
        let offers: BTreeMap<_, _> = untried
            .filter_map(|node| {
                let key = share_key(node, record);
                let view = node.view(&record.profile, &key, is_cold)?;
                Some((node.record.id.clone(), view))
            })
            .collect();
        let memory_bytes = match record.memory_bytes {
            0 => self.fleet.memory_of(&record.profile).unwrap_or(0),
            asked => asked,
        };
        let decision = refuse_profile(record.profile.as_str(), &profiles(&nodes))
            .unwrap_or_else(|| place(memory_bytes, &offers, rand::random::<u64>));
        let (id, reason) = match decision.as_seen(sight) {
            Decision::Placed { node, reason } => (node, reason),
            Decision::Queued { reason } => return Err(Miss::Again(reason)),
            Decision::Rejected { reason } => return Err(Miss::Never(Refusal::Denied { reason })),
        };
        let node = nodes.into_iter().find(|node| node.record.id == id);
        let node = node.ok_or_else(|| Miss::Again("the chosen node has just gone".to_owned()))?;
        self.fleet.claim(&id, memory_bytes, &record.profile);
        Ok(Choice {
            reason,
            memory_bytes,
            share_key: share_key(&node, record),
            session_confs: session_confs(&node, record),
            static_confs,
            node: node.record,
        })
    }
}

/// The profiles that nodes tell of.
fn profiles(nodes: &[Node]) -> BTreeSet<&str> {
    let loads = nodes.iter().filter_map(|node| node.load.as_ref());
    let offered = loads.flat_map(|load| &load.profiles);
    offered.map(|profile| profile.name.as_str()).collect()
}

/// Which sessions may be on the same driver. Code always has a driver of its own.
fn share_key(node: &Node, record: &SessionRecord) -> String {
    if record.owns_driver() {
        return String::new();
    }
    let offered = offered(node.share(&record.profile));
    share::key(offered, record.share.as_ref(), &record.tenant, &record.owner).unwrap_or_default()
}

/// A level as agents tell it.
pub(crate) fn offered(told: ShareLevel) -> Level {
    match told {
        ShareLevel::Unspecified | ShareLevel::Session => Level::Session,
        ShareLevel::User => Level::User,
        ShareLevel::Tenant => Level::Tenant,
    }
}

/// A code session's driver is its own: its confs are the driver's.
fn static_confs(record: &SessionRecord) -> HashMap<String, String> {
    // What is Berth's own conf must not keep a session from a warm driver.
    let confs = record.confs.iter().filter(|(name, _)| *name != Policy::CONF);
    match record.owns_driver() {
        true => confs.map(|(name, value)| (name.clone(), value.clone())).collect(),
        false => HashMap::new(),
    }
}

/// True of a session that never had a driver.
const fn is_first(record: &SessionRecord) -> bool {
    matches!(record.state, SessionState::Placing { from: None, .. })
}

/// True of a session that never had a driver, and whose driver starts with what its client asked for: if that does not
/// come up, the request may be to blame.
pub(super) fn has_own_start(record: &SessionRecord) -> bool {
    is_first(record) && !static_confs(record).is_empty()
}

fn session_confs(node: &Node, record: &SessionRecord) -> BTreeMap<String, String> {
    let offered = node.profile(&record.profile);
    let mut confs: BTreeMap<String, String> = offered
        .into_iter()
        .flat_map(|offered| offered.session_confs.clone())
        .collect();
    confs.extend(record.confs.clone());
    confs
}
