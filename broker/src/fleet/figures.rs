//! A node as a broker sees it.

use berth_core::ids::ProfileName;
use berth_core::placement::NodeView;
use berth_core::record::NodeRecord;
use berth_proto::agent::{Load, ProfileLoad, ShareLevel};

/// A node with its figures.
#[derive(Debug, Clone)]
pub struct Node {
    /// Its record.
    pub record: NodeRecord,
    /// Its figures; `None` while its agent does not answer.
    pub load: Option<Load>,
    /// Bytes asked for since the figures came.
    claimed_bytes: u64,
    /// Drivers asked for since then, by profile.
    claimed: Vec<ProfileName>,
}

impl Node {
    pub(super) fn new(record: NodeRecord) -> Self {
        Self {
            record,
            load: None,
            claimed_bytes: 0,
            claimed: Vec::new(),
        }
    }

    pub(super) fn hear(&mut self, load: Option<Load>) {
        self.load = load;
        self.claimed_bytes = 0;
        self.claimed.clear();
    }

    pub(super) fn claim(&mut self, memory_bytes: u64, profile: &ProfileName) {
        self.claimed_bytes = self.claimed_bytes.saturating_add(memory_bytes);
        self.claimed.push(profile.clone());
    }

    /// The node's own words on a profile.
    pub fn profile(&self, profile: &ProfileName) -> Option<&ProfileLoad> {
        let offered = &self.load.as_ref()?.profiles;
        offered.iter().find(|offered| offered.name == profile.as_str())
    }

    /// What a driver of the profile reserves there.
    pub fn memory_of(&self, profile: &ProfileName) -> Option<u64> {
        self.profile(profile).map(|offered| offered.memory_bytes)
    }

    /// Which sessions may share a driver of the profile there.
    pub fn share(&self, profile: &ProfileName) -> ShareLevel {
        self.profile(profile)
            .map_or(ShareLevel::Session, ProfileLoad::share)
    }

    /// The node as placement sees it; `None` if it does not offer the profile or is silent. `share_key` is empty for
    /// a driver of one's own; `cold` is true for a driver that no warm one can stand in for.
    pub fn view(&self, profile: &ProfileName, share_key: &str, cold: bool) -> Option<NodeView> {
        let (load, offered) = (self.load.as_ref()?, self.profile(profile)?);
        let claimed = self.claimed.iter().filter(|name| *name == profile).count();
        let claimed = u32::try_from(claimed).unwrap_or(u32::MAX);
        let joinable = load.shared.iter().filter(|shared| {
            !share_key.is_empty() && shared.share_key == share_key && shared.profile == profile.as_str()
        });
        let joinable = u32::try_from(joinable.count()).unwrap_or(u32::MAX);
        let warm = offered.warm.saturating_sub(claimed).saturating_add(joinable);
        Some(NodeView {
            capacity_bytes: load.memory_capacity_bytes,
            reserved_bytes: load.memory_reserved_bytes.saturating_add(self.claimed_bytes),
            free_slots: load.driver_slots.saturating_sub(load.drivers),
            warm: if cold { 0 } else { warm },
            open: !load.draining,
        })
    }
}
