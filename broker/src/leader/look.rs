//! What the leader sees of the cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use berth_core::duties::{Cluster, Node, Quiet};
use berth_core::ids::{DriverId, Epoch, NodeId, SessionId};
use berth_core::keys;
use berth_core::record::NodeRecord;
use berth_proto::agent as api;
use berth_store::{StoreError, list_all};
use futures_util::future::join_all;
use tokio::time::Instant;

use super::Leader;

/// An agent that does not list its drivers by then is silent.
const DEADLINE: Duration = Duration::from_secs(2);

/// A session's epoch that an agent holds a driver for.
pub(super) struct Held {
    pub(super) node: NodeRecord,
    pub(super) session: SessionId,
    pub(super) epoch: Epoch,
}

impl Leader {
    pub(super) async fn look(&self) -> Result<(Cluster, Vec<Held>), StoreError> {
        let (brokers, _) = list_all(&*self.store, keys::BROKERS).await?;
        let brokers: BTreeSet<_> = brokers
            .iter()
            .filter_map(|entry| entry.key.strip_prefix(keys::BROKERS)?.parse().ok())
            .collect();
        let lately = super::lock(&self.sightings).look(&brokers, super::GONE, Instant::now());
        let records = self.fleet.nodes().into_iter().map(|node| node.record);
        let seen = join_all(records.map(|record| self.look_at(record))).await;
        let mut nodes: BTreeMap<NodeId, Node> = BTreeMap::new();
        let mut held = Vec::new();
        for (id, node, here) in seen {
            nodes.insert(id, node);
            held.extend(here);
        }
        let cluster = Cluster {
            brokers,
            lately,
            nodes,
        };
        Ok((cluster, held))
    }

    async fn look_at(&self, record: NodeRecord) -> (NodeId, Node, Vec<Held>) {
        let mut agent = self.fleet.client(&record.address);
        let listed = tokio::time::timeout(DEADLINE, agent.list_drivers(api::ListDriversRequest {})).await;
        let drivers = match listed {
            Ok(Ok(reply)) => Some(reply.into_inner().drivers),
            Ok(Err(_)) | Err(_) => None,
        };
        let quiet = |driver: &api::Driver| {
            let quiet = Quiet {
                idle_millis: driver.idle_ms,
                uncalled_millis: driver.uncalled_ms,
            };
            Some((driver.driver_id.parse::<DriverId>().ok()?, quiet))
        };
        let quiet = drivers
            .as_ref()
            .map(|drivers| drivers.iter().filter_map(quiet).collect());
        let epochs = drivers.iter().flatten().flat_map(|driver| &driver.sessions);
        let held = epochs.filter_map(|held| {
            Some(Held {
                node: record.clone(),
                session: held.session_id.parse().ok()?,
                epoch: Epoch::from_wire(held.epoch)?,
            })
        });
        let held = held.collect();
        let node = Node {
            incarnation: record.incarnation,
            draining: record.draining,
            drivers: quiet,
        };
        (record.id, node, held)
    }
}
