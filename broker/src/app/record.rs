//! The broker's record, kept under its lease.

use std::sync::Arc;
use std::time::Duration;

use berth_core::ids::BrokerId;
use berth_core::keys;
use berth_core::record::{BrokerRecord, FORMAT, Record};
use berth_runtime::clock::unix_millis;
use berth_runtime::tasks::Tasks;
use berth_store::lease::Keeper;
use berth_store::{LeaseId, StoreError, StoreRef, Txn};

/// Takes the broker's lease and keeps its record under it, whatever lease it is.
pub(super) async fn register(
    store: &StoreRef,
    id: &BrokerId,
    (admin_address, kyuubi_url): (String, Option<String>),
    lease_seconds: u64,
    tasks: &Tasks,
) -> Result<Keeper, StoreError> {
    let record = BrokerRecord {
        format: FORMAT,
        id: id.clone(),
        admin_address,
        kyuubi_url,
        started_at: unix_millis(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let keeper = Keeper::start(Arc::clone(store), Duration::from_secs(lease_seconds.max(3))).await?;
    let mut states = keeper.states();
    let mut written = put(store, &record, keeper.held().await).await?;
    let (store, draining) = (Arc::clone(store), tasks.shutdown().clone());
    tasks.spawn("broker record", async move {
        loop {
            tokio::select! {
                changed = states.changed() => if changed.is_err() { return },
                () = draining.draining() => return,
            }
            let state = *states.borrow_and_update();
            let Some(lease) = state.held().filter(|lease| *lease != written) else {
                continue;
            };
            match put(&store, &record, lease).await {
                Ok(lease) => written = lease,
                // The next renewal is the next occasion.
                Err(error) => tracing::warn!(%error, "the broker's record was not written again"),
            }
        }
    });
    Ok(keeper)
}

async fn put(store: &StoreRef, record: &BrokerRecord, lease: LeaseId) -> Result<LeaseId, StoreError> {
    let put = Txn::new().put_leased(keys::broker(&record.id), record.encode(), lease);
    store.txn(put).await.map(|_| lease)
}
