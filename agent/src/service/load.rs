//! The node's figures for brokers.

use std::time::Duration;

use berth_proto::agent as api;
use futures_util::StreamExt;
use tokio::sync::watch;

use super::{AgentService, Replies};
use crate::config::Share;
use crate::drivers::Drivers;

/// How often a quiet node sends its figures.
const INTERVAL: Duration = Duration::from_secs(1);
/// At most one message of figures in this time.
const PAUSE: Duration = Duration::from_millis(100);

/// Where a reader of the stream is.
struct Reader {
    changes: watch::Receiver<u64>,
    seq: u64,
    losses: u64,
}

impl AgentService {
    /// One message at once, one after each change, one every second.
    pub(super) fn loads(&self) -> Replies<api::Load> {
        let service = self.clone();
        let (_, losses) = service.drivers.lost_since(u64::MAX);
        let reader = Reader {
            changes: service.drivers.changes(),
            seq: 0,
            losses,
        };
        let next = move |mut reader: Reader| {
            let service = service.clone();
            async move {
                if reader.seq > 0 {
                    tokio::time::sleep(PAUSE).await;
                    tokio::select! {
                        // A quiet second is a reason to speak as good as a change.
                        _ = tokio::time::timeout(INTERVAL, reader.changes.changed()) => {}
                        () = service.drivers.shutdown().draining() => return None,
                    }
                }
                reader.changes.borrow_and_update();
                reader.seq += 1;
                let (lost, losses) = service.drivers.lost_since(reader.losses);
                reader.losses = losses;
                let load = api::Load {
                    seq: reader.seq,
                    lost_drivers: lost.iter().map(ToString::to_string).collect(),
                    ..service.load()
                };
                Some((Ok(load), reader))
            }
        };
        futures_util::stream::unfold(reader, next).boxed()
    }

    pub(super) fn load(&self) -> api::Load {
        let record = self.drivers.lease().record();
        let drivers = self.drivers.all();
        let config = self.drivers.config();
        let profiles = config.profiles.iter().map(|(name, profile)| api::ProfileLoad {
            name: name.to_string(),
            memory_bytes: profile.memory_bytes,
            warm: Drivers::count_warm(&drivers, name),
            share: share_level(profile.share).into(),
            session_confs: profile.session_confs.clone().into_iter().collect(),
        });
        let shared = drivers.iter().filter_map(|(driver, held)| {
            // Told without the profile that the key begins with on this node.
            let (_, key) = held.share_key.as_ref()?.split_once('/')?;
            Some(api::SharedDriver {
                driver_id: driver.id.to_string(),
                profile: held.profile.to_string(),
                share_key: key.to_owned(),
                sessions: count(held.sessions.len()),
            })
        });
        api::Load {
            node_id: record.id.to_string(),
            incarnation: record.incarnation.to_string(),
            seq: 0,
            memory_capacity_bytes: config.memory_capacity_bytes,
            memory_reserved_bytes: self.drivers.reserved_bytes(),
            driver_slots: config.driver_slots,
            drivers: count(drivers.len()),
            cpu: self.drivers.cpu(),
            draining: record.draining,
            profiles: profiles.collect(),
            shared: shared.collect(),
            sessions: count(drivers.iter().map(|(_, held)| held.sessions.len()).sum()),
            lost_drivers: Vec::new(),
        }
    }
}

fn share_level(share: Share) -> api::ShareLevel {
    match share {
        Share::Session => api::ShareLevel::Session,
        Share::User => api::ShareLevel::User,
        Share::Tenant => api::ShareLevel::Tenant,
    }
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
