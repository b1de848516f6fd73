//! A broker, assembled: its own record, its routes, its end.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use berth_core::ids::BrokerId;
use berth_core::keys;
use berth_core::record::{BrokerRecord, FORMAT, Record, SessionRecord};
use berth_proto::DESCRIPTORS;
use berth_runtime::clock::unix_millis;
use berth_runtime::tasks::{Shutdown, Tasks};
use berth_store::blobs::Blobs;
use berth_store::lease::Keeper;
use berth_store::watch::{self, Change};
use berth_store::{Entry, Event, LeaseId, StoreError, StoreRef, Txn};
use futures_util::StreamExt;
use rustls::ClientConfig;
use tonic::service::Routes;
use uuid::Uuid;

use crate::config::BrokerConfig;
use crate::dialects::connect::{Connect, ConnectConfig, service};
use crate::fleet::Fleet;
use crate::ledger::Ledger;
use crate::native::Native;
use crate::sessions::Sessions;
use crate::tunnel::Dialer;

/// A running broker.
#[derive(Debug)]
pub struct Broker {
    tasks: Tasks,
    lease: Keeper,
    routes: Router,
}

impl Broker {
    /// Registers the broker and starts its tasks.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not take the broker's record.
    pub async fn start(
        config: BrokerConfig,
        admin_address: String,
        store: StoreRef,
        blobs: Blobs,
        tls: &Arc<ClientConfig>,
        shutdown: Shutdown,
    ) -> Result<Self, StoreError> {
        let tasks = Tasks::new(shutdown);
        let id = new_id();
        let lease = register(&store, &id, admin_address, config.lease_seconds, &tasks).await?;
        let fleet = Fleet::new(Arc::clone(&store), Dialer::new(tls));
        let ledger = Arc::new(Ledger::new(Arc::clone(&store), blobs));
        let sessions = Sessions::new(
            id,
            config,
            Arc::clone(&store),
            Arc::clone(&fleet),
            Arc::clone(&ledger),
            tasks.clone(),
        );
        let (watched, told, draining) = (
            Arc::clone(&store),
            Arc::clone(&sessions),
            tasks.shutdown().clone(),
        );
        tasks.spawn("session watch", async move {
            tokio::select! {
                () = follow(watched, told) => {}
                () = draining.draining() => {}
            }
        });
        let connect = Connect::new(
            Arc::clone(&sessions) as _,
            ConnectConfig::default(),
            tasks.clone(),
        );
        let native = Native::server(Arc::clone(&store), fleet, ledger, sessions);
        let routes = grpc(native).merge(service(connect));
        Ok(Self { tasks, lease, routes })
    }

    /// What is served on the Spark Connect port: that dialect and the native API.
    pub fn routes(&self) -> Router {
        self.routes.clone()
    }

    /// Ends the broker: what runs may finish within `patience`, then its record goes.
    pub async fn stop(&self, patience: Duration) {
        self.tasks.stop(patience).await;
        if let Err(error) = self.lease.release().await {
            tracing::warn!(%error, "the broker's record stays until its lease ends");
        }
    }
}

fn new_id() -> BrokerId {
    let name = format!("broker-{}", Uuid::new_v4().simple());
    // Letters, digits and a hyphen are what an id consists of.
    name.parse().expect("a generated broker id is well-formed")
}

fn grpc(native: berth_proto::v1::berth_server::BerthServer<Native>) -> Router {
    let (health, health_service) = tonic_health::server::health_reporter();
    drop(health);
    let mut routes = Routes::builder();
    routes.add_service(native).add_service(health_service);
    match tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .build_v1()
    {
        Ok(reflection) => drop(routes.add_service(reflection)),
        Err(error) => tracing::warn!(%error, "the native API is served without reflection"),
    }
    routes.routes().into_axum_router()
}

/// Takes the broker's lease and keeps its record under it, whatever lease it is.
async fn register(
    store: &StoreRef,
    id: &BrokerId,
    admin_address: String,
    lease_seconds: u64,
    tasks: &Tasks,
) -> Result<Keeper, StoreError> {
    let record = BrokerRecord {
        format: FORMAT,
        id: id.clone(),
        admin_address,
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

/// Tells the sessions of every change that others make, for ever.
async fn follow(store: StoreRef, sessions: Arc<Sessions>) {
    let mut changes = watch::follow(store, keys::SESSIONS);
    while let Some(change) = changes.next().await {
        match change {
            Change::Snapshot(entries, _) => entries.iter().for_each(|entry| tell(&sessions, entry)),
            Change::Batch(batch) => {
                for event in &batch.events {
                    if let Event::Put(entry) = event {
                        tell(&sessions, entry);
                    }
                }
            }
        }
    }
}

fn tell(sessions: &Sessions, entry: &Entry) {
    match SessionRecord::decode(&entry.key, &entry.value) {
        Ok(record) => sessions.on_change(&record),
        Err(error) => tracing::warn!(%error, "a session's record is not understood"),
    }
}
