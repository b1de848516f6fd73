//! A broker, assembled: its own record, its routes, its end.

mod identity;
mod limit;
mod record;
mod secret;
mod sessions_watch;

use std::sync::Arc;
use std::time::Duration;

use axum::{Router, middleware};
use berth_core::ids::BrokerId;
use berth_proto::DESCRIPTORS;
use berth_proto::v1::berth_server::BerthServer;
use berth_runtime::admin::Probe;
use berth_runtime::auth::{AuthenticateLayer, Authenticator, Cookies};
use berth_runtime::tasks::{Shutdown, Tasks};
use berth_store::blobs::Blobs;
use berth_store::lease::Keeper;
use berth_store::{StoreError, StoreRef};
use rustls::ClientConfig;
use tonic::service::Routes;
use uuid::Uuid;

use crate::calls::Calls;
use crate::config::BrokerConfig;
use crate::dialects::connect::{Connect, ConnectConfig, service};
use crate::dialects::hs2::{self, Door, Hs2};
use crate::dialects::kyuubi::{self, Kyuubi};
use crate::dialects::livy;
use crate::dialects::livy::batches::desk::Batches;
use crate::dialects::livy::desk::Desk;
use crate::dialects::livy::directory::Resource;
use crate::dialects::sql::Engine;
use crate::dialects::sql::peers::Peers;
use crate::dialects::sql::place::Place;
use crate::fleet::Fleet;
use crate::leader::Leader;
use crate::ledger::Ledger;
use crate::native::Native;
use crate::sessions::Sessions;
use crate::tunnel::Dialer;
use record::register;
use sessions_watch::{follow, follow_losses};

/// How often a broker that is about to end looks whether its operations have been fetched.
const FETCHED_POLL: Duration = Duration::from_millis(200);

/// A running broker.
#[derive(Debug)]
pub struct Broker {
    tasks: Tasks,
    lease: Arc<Keeper>,
    connect: Router,
    livy: Router,
    livy_secures: bool,
    sql: Arc<Engine>,
    hs2: Arc<Hs2>,
    kyuubi: Arc<Kyuubi>,
    calls: Calls,
    cookies: Cookies,
}

impl Broker {
    /// Registers the broker and starts its tasks.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not take the broker's record.
    pub async fn start(
        config: BrokerConfig,
        (admin_address, kyuubi_url): (String, Option<String>),
        store: StoreRef,
        blobs: Blobs,
        tls: &Arc<ClientConfig>,
        shutdown: Shutdown,
    ) -> Result<Self, StoreError> {
        let tasks = Tasks::new(shutdown);
        let id = new_id();
        let lease = Arc::new(
            register(
                &store,
                &id,
                (admin_address, kyuubi_url),
                config.lease_seconds,
                &tasks,
            )
            .await?,
        );
        let fleet = Fleet::new(Arc::clone(&store), Dialer::new(tls));
        fleet.follow(&tasks);
        let ledger = Arc::new(Ledger::new(Arc::clone(&store), blobs, config.lineage_entries));
        let sessions = Sessions::new(
            id.clone(),
            config.clone(),
            Arc::clone(&store),
            Arc::clone(&fleet),
            Arc::clone(&ledger),
            tasks.clone(),
        );
        let (watched, lossy, told, draining) = (
            Arc::clone(&store),
            Arc::clone(&fleet),
            Arc::clone(&sessions),
            tasks.shutdown().clone(),
        );
        tasks.spawn("session watch", async move {
            tokio::select! {
                () = follow(watched, Arc::clone(&told)) => {}
                () = follow_losses(lossy, told) => {}
                () = draining.draining() => {}
            }
        });
        let (touched, draining) = (Arc::clone(&sessions), tasks.shutdown().clone());
        tasks.spawn("touches", async move {
            tokio::select! {
                () = touched.tell_touches() => {}
                () = draining.draining() => {}
            }
        });
        let batches = Arc::new(Batches::new(
            Arc::clone(&sessions) as _,
            Arc::clone(&store),
            tasks.clone(),
            config.livy.clone(),
        ));
        let kyuubi_batches = Arc::new(Batches::of(
            Resource::KyuubiBatches,
            Arc::clone(&sessions) as _,
            Arc::clone(&store),
            tasks.clone(),
            config.livy.clone(),
        ));
        let desk = Arc::new(Desk::new(
            Arc::clone(&sessions) as _,
            Arc::clone(&store),
            tasks.clone(),
            config.livy.clone(),
        ));
        let place = Place::of_broker(&id);
        let leader = Leader::new(
            id,
            &config,
            Arc::clone(&store),
            Arc::clone(&fleet),
            (
                Arc::clone(&sessions),
                Arc::clone(&desk),
                [Arc::clone(&batches), Arc::clone(&kyuubi_batches)],
            ),
            tasks.clone(),
        );
        tasks.spawn("leader", leader.run(Arc::clone(&lease)));
        let calls = Calls::new(config.max_calls);
        let connect = Connect::new(
            Arc::clone(&sessions) as _,
            ConnectConfig {
                detached_timeout: Duration::from_secs(config.detached_seconds),
                ..ConnectConfig::default()
            },
            tasks.clone(),
        );
        let engine = Engine::new(Arc::clone(&connect), config.sql.clone(), tasks.clone(), place);
        let native = Native::new(Arc::clone(&store), fleet, ledger, sessions);
        let cookies = secret::cookies(&store).await?;
        let peers = Peers::new(Arc::clone(tls), tasks.clone());
        let kyuubi = Kyuubi::new(
            (Arc::clone(&engine), kyuubi_batches),
            Arc::clone(&store),
            Arc::new(native.clone()),
            config.kyuubi.clone(),
            config.hs2.spark_version.clone(),
            peers.clone(),
            &tasks,
        );
        let hs2 = Hs2::new(
            Arc::clone(&engine),
            Arc::clone(&store),
            config.hs2.clone(),
            peers,
            &tasks,
        );
        let livy = livy::router(desk, batches)
            .layer(middleware::from_fn(identity::livy))
            .layer(middleware::from_fn_with_state(calls.clone(), limit::livy));
        let livy_secures = config.livy.security_headers;
        let native = grpc(BerthServer::new(native)).layer(middleware::from_fn(identity::operator));
        let connect = service(connect).layer(middleware::from_fn(identity::connect));
        let connect = native
            .merge(connect)
            .layer(middleware::from_fn_with_state(calls.clone(), limit::connect));
        Ok(Self {
            tasks,
            lease,
            connect,
            livy,
            livy_secures,
            sql: engine,
            hs2,
            kyuubi,
            calls,
            cookies,
        })
    }

    /// What is served on the Spark Connect port: that dialect and the native API.
    pub fn connect_routes(&self) -> Router {
        self.connect.clone()
    }

    /// What is served on the Livy port. Who has not logged in gets its headers for browsers, too.
    pub fn livy_routes(&self, authenticator: Authenticator) -> Router {
        let routes = self
            .livy
            .clone()
            .layer(AuthenticateLayer::new(authenticator, "livy"));
        livy::conventions::for_browsers(routes, self.livy_secures)
    }

    /// What is served on the port of Kyuubi's REST API. It asks its callers who they are itself: what they are told,
    /// and what nobody is asked for, are its own.
    pub fn kyuubi_routes(&self, authenticator: Authenticator) -> Router {
        let calls = middleware::from_fn_with_state(self.calls.clone(), limit::kyuubi);
        kyuubi::router(Arc::clone(&self.kyuubi), authenticator).layer(calls)
    }

    /// What is served over HTTP on the ports of HiveServer2's protocol. It asks its callers who they are itself: who
    /// has logged in once gets a cookie, which does not leave TLS where there `is_secure` is true.
    pub fn hs2_routes(
        &self,
        authenticator: Authenticator,
        listener: &'static str,
        is_secure: bool,
    ) -> Router {
        let calls = middleware::from_fn_with_state(self.calls.clone(), limit::hs2);
        let routes = hs2::router(Arc::clone(&self.hs2))
            .layer(calls)
            .layer(AuthenticateLayer::new(authenticator.clone(), listener));
        hs2::remembering(&self.hs2, routes, self.cookies.clone(), authenticator, is_secure)
    }

    /// What is spoken on the port of HiveServer2's protocol by connections that are not HTTP.
    pub fn hs2_door(&self, authenticator: Authenticator) -> Arc<Door> {
        self.hs2.door(authenticator, self.calls.clone())
    }

    /// Whether new clients should be sent here.
    pub fn readiness(&self) -> Probe {
        let (lease, shutdown) = (Arc::clone(&self.lease), self.tasks.shutdown().clone());
        Arc::new(move || match (shutdown.is_draining(), lease.is_held()) {
            (true, _) => Some("the broker is stopping"),
            (false, false) => Some("the store does not answer: the broker's lease is not held"),
            (false, true) => None,
        })
    }

    /// Waits until the operations of clients that go on at other brokers have ended and been fetched, for `patience`.
    pub async fn until_fetched(&self, patience: Duration) {
        let fetched = async {
            while self.sql.is_awaited() {
                tokio::time::sleep(FETCHED_POLL).await;
            }
        };
        if tokio::time::timeout(patience, fetched).await.is_err() {
            tracing::info!("operations over REST or HTTP end with this broker; their clients run them again");
        }
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

fn grpc(native: BerthServer<Native>) -> Router {
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
