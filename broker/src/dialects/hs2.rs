//! HiveServer2's Thrift protocol, for unmodified JDBC drivers, beeline, PyHive and impyla.
//!
//! The dialect translates: what it is asked for is done by [`super::sql`].
//!
//! | module | what |
//! |---|---|
//! | `wire` | Thrift's binary protocol |
//! | `sasl`, `inbound`, `binary` | connections: login, bytes, calls one after another |
//! | `http` | the same calls, one a request |
//! | `desk`, `forward` | sessions that any broker serves, and calls about operations of other brokers |
//! | `discovery` | where clients find brokers, through ZooKeeper |
//! | `cookie` | what stands for a login over HTTP |
//! | `calls` | which call does what |
//! | `handle`, `protocol`, `schema`, `rowset`, `info` | what is in requests and answers |

mod binary;
mod calls;
mod cookie;
mod desk;
pub mod discovery;
mod forward;
mod handle;
mod http;
mod inbound;
mod info;
mod progress;
mod protocol;
pub(crate) mod rowset;
mod sasl;
pub(crate) mod schema;
mod wire;

use std::sync::Arc;

use axum::{Router, middleware};
use berth_core::ids::TenantId;
use berth_core::record::Dialect;
use berth_runtime::auth::{Authenticator, Cookies, Identity};
use berth_runtime::tasks::Tasks;
use berth_store::StoreRef;
use serde::{Deserialize, Serialize};

use super::sql::directory::Directory;
use super::sql::failure::Failure;
use super::sql::peers::Peers;
use super::sql::{Caller, Engine};
use crate::calls::Calls;

pub use binary::Door;
use cookie::Jar;
use discovery::ZookeeperConfig;
pub(crate) use http::router;

/// Limits and switches of the dialect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Hs2Config {
    /// Largest message of a client, in bytes.
    pub max_message_bytes: usize,
    /// True to close the sessions of a connection that ends; over HTTP they stay.
    pub close_on_disconnect: bool,
    /// Seconds for which connections with sessions go on when the broker is told to end.
    pub drain_seconds: u64,
    /// Seconds for which a login over HTTP is remembered in a cookie; 0 for none. It ends with the user's token, too.
    pub cookie_seconds: u64,
    /// The release of Spark that tools are told of that look for one.
    pub spark_version: String,
    /// How clients find the broker through ZooKeeper.
    pub zookeeper: ZookeeperConfig,
}

impl Default for Hs2Config {
    fn default() -> Self {
        Self {
            max_message_bytes: 100 << 20,
            close_on_disconnect: true,
            drain_seconds: 0,
            cookie_seconds: 86_400,
            spark_version: "4.3.0".to_owned(),
            zookeeper: ZookeeperConfig::default(),
        }
    }
}

/// The dialect's state. One a broker.
#[derive(Debug)]
pub(crate) struct Hs2 {
    engine: Arc<Engine>,
    config: Hs2Config,
    directory: Directory,
    peers: Peers,
}

impl Hs2 {
    /// The dialect over an engine.
    pub(crate) fn new(
        engine: Arc<Engine>,
        store: StoreRef,
        config: Hs2Config,
        peers: Peers,
        tasks: &Tasks,
    ) -> Arc<Self> {
        let hs2 = Arc::new(Self {
            engine,
            config,
            directory: Directory::of(store, Dialect::Hs2),
            peers,
        });
        desk::start_sweep(Arc::downgrade(&hs2), tasks);
        hs2
    }

    /// What is spoken on connections that are not HTTP.
    pub(crate) fn door(self: &Arc<Self>, authenticator: Authenticator, calls: Calls) -> Arc<Door> {
        Arc::new(Door::new(Arc::clone(self), authenticator, calls))
    }
}

/// Puts the cookie around routes that ask who calls.
pub(crate) fn remembering(
    hs2: &Hs2,
    routes: Router,
    cookies: Cookies,
    authenticator: Authenticator,
    is_secure: bool,
) -> Router {
    let seconds = hs2.config.cookie_seconds;
    if seconds == 0 {
        return routes;
    }
    let jar = Jar {
        cookies,
        authenticator,
        seconds,
        is_secure,
    };
    routes.layer(middleware::from_fn_with_state(Arc::new(jar), cookie::remember))
}

/// Who calls, as the engine knows it.
///
/// # Errors
/// The user's tenant is none.
pub(crate) fn caller(identity: Identity) -> Result<Caller, Failure> {
    let tenant = identity.tenant.as_deref().map(str::parse::<TenantId>).transpose();
    let wrong = |error| {
        let user = identity.user.as_deref().unwrap_or_default();
        Failure::new(
            "42501",
            format!("the tenant of user {user} is not a tenant's name: {error}; mend the token file"),
        )
    };
    Ok(Caller {
        tenant: tenant.map_err(wrong)?,
        operator: identity.operator,
        user: identity.user,
    })
}
