//! Listeners: bound before anything starts, so that a port that is taken is the first thing said.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use axum::Router;
use berth_broker::app::Broker;
use berth_runtime::auth::{AuthenticateLayer, Authenticator};
use berth_runtime::listen;
use berth_runtime::tasks::Tasks;
use berth_runtime::tls::Clients as TlsClients;
use rustls::ServerConfig;
use tokio::net::TcpListener;

use crate::config::{Config, Role};

/// Listeners that are bound and not served yet.
pub(super) struct Doors {
    pub(super) clients: Option<ClientDoors>,
    pub(super) agent: Option<TcpListener>,
    pub(super) admin: TcpListener,
}

/// A broker's listeners for clients.
pub(super) struct ClientDoors {
    pub(super) connect: TcpListener,
    pub(super) livy: TcpListener,
    pub(super) kyuubi: TcpListener,
    pub(super) hs2: TcpListener,
    pub(super) hs2_http: TcpListener,
}

/// The addresses that were bound.
pub(super) struct Addresses {
    pub(super) connect: Option<SocketAddr>,
    pub(super) livy: Option<SocketAddr>,
    pub(super) kyuubi: Option<SocketAddr>,
    pub(super) hs2: Option<SocketAddr>,
    pub(super) hs2_http: Option<SocketAddr>,
    pub(super) agent: Option<SocketAddr>,
    pub(super) admin: SocketAddr,
}

impl Doors {
    pub(super) async fn bind(config: &Config, role: Role) -> anyhow::Result<Self> {
        let listen = &config.listen;
        let clients = match role {
            Role::Agent => None,
            Role::Up | Role::Broker => Some(ClientDoors {
                connect: bind(listen.connect, "connect").await?,
                livy: bind(listen.livy, "livy").await?,
                kyuubi: bind(listen.kyuubi, "kyuubi").await?,
                hs2: bind(listen.hs2, "hs2").await?,
                hs2_http: bind(listen.hs2_http, "hs2-http").await?,
            }),
        };
        let agent = match role {
            Role::Broker => None,
            Role::Up | Role::Agent => Some(bind(listen.agent, "agent").await?),
        };
        let admin = bind(listen.admin, "admin").await?;
        Ok(Self {
            clients,
            agent,
            admin,
        })
    }

    pub(super) fn addresses(&self) -> std::io::Result<Addresses> {
        let clients = self.clients.as_ref();
        let of = |listener: Option<&TcpListener>| listener.map(TcpListener::local_addr).transpose();
        Ok(Addresses {
            connect: of(clients.map(|clients| &clients.connect))?,
            livy: of(clients.map(|clients| &clients.livy))?,
            kyuubi: of(clients.map(|clients| &clients.kyuubi))?,
            hs2: of(clients.map(|clients| &clients.hs2))?,
            hs2_http: of(clients.map(|clients| &clients.hs2_http))?,
            agent: of(self.agent.as_ref())?,
            admin: self.admin.local_addr()?,
        })
    }
}

async fn bind(address: SocketAddr, name: &str) -> anyhow::Result<TcpListener> {
    let bound = TcpListener::bind(address).await;
    bound.with_context(|| {
        format!("{address} cannot be listened on; choose another address with --{name} or listen.{name}")
    })
}

/// What a client must show and how it is spoken to.
pub(super) struct Locks {
    authenticator: Authenticator,
    tls: Option<Arc<ServerConfig>>,
}

impl Locks {
    pub(super) fn of(config: &Config, tasks: &Tasks) -> anyhow::Result<Self> {
        let authenticator = Authenticator::new(config.auth.token_file.clone())?;
        if let Authenticator::Tokens(tokens) = &authenticator {
            tokens.keep_fresh(tasks);
        }
        let tls = match config.listen.tls_files() {
            Some(files) => {
                let tls = files.load()?;
                tls.keep_fresh(tasks);
                Some(tls.server(TlsClients::Anyone)?)
            }
            None => None,
        };
        Ok(Self { authenticator, tls })
    }
}

pub(super) fn serve(name: &'static str, listener: TcpListener, routes: Router, locks: &Locks, tasks: &Tasks) {
    let routes = routes.layer(AuthenticateLayer::new(locks.authenticator.clone(), name));
    serve_as_it_is(name, listener, routes, locks, tasks);
}

/// Serves routes that ask their callers themselves who they are.
fn serve_as_it_is(name: &'static str, listener: TcpListener, routes: Router, locks: &Locks, tasks: &Tasks) {
    match &locks.tls {
        Some(tls) => listen::serve_tls(name, listener, tls, routes, tasks),
        None => listen::serve(name, listener, routes, tasks),
    }
}

/// Serves Livy's REST API.
pub(super) fn serve_livy(listener: TcpListener, broker: &Broker, locks: &Locks, tasks: &Tasks) {
    let routes = broker.livy_routes(locks.authenticator.clone());
    serve_as_it_is("livy", listener, routes, locks, tasks);
}

/// Serves Kyuubi's REST API, which tells in its own words whom it does not know.
pub(super) fn serve_kyuubi(listener: TcpListener, broker: &Broker, locks: &Locks, tasks: &Tasks) {
    let rest = broker.kyuubi_routes(locks.authenticator.clone());
    // Where other brokers pass calls on to.
    let routes = hs2_over_http("kyuubi", broker, locks).fallback_service(rest);
    serve_as_it_is("kyuubi", listener, routes, locks, tasks);
}

/// Serves HiveServer2's protocol: on one port whatever way a connection begins, on the other as HTTP alone.
pub(super) fn serve_hs2(
    (any, http): (TcpListener, TcpListener),
    broker: &Broker,
    locks: &Locks,
    tasks: &Tasks,
) {
    let rest = broker.kyuubi_routes(locks.authenticator.clone());
    let routes = hs2_over_http("hs2", broker, locks).fallback_service(rest);
    let door = broker.hs2_door(locks.authenticator.clone());
    listen::serve_mixed("hs2", any, locks.tls.as_deref(), routes, door, tasks);
    let routes = hs2_over_http("hs2-http", broker, locks);
    serve_as_it_is("hs2-http", http, routes, locks, tasks);
}

fn hs2_over_http(listener: &'static str, broker: &Broker, locks: &Locks) -> Router {
    broker.hs2_routes(locks.authenticator.clone(), listener, locks.tls.is_some())
}

/// Says where everything is: to people, and in `endpoints.json` below the data directory of a whole Berth.
pub(super) fn announce(config: &Config, role: Role, addresses: &Addresses) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    if role == Role::Up {
        write_endpoints(config, addresses)?;
    }
    let scheme = if config.listen.tls_cert.is_some() {
        "https"
    } else {
        "http"
    };
    let name = match role {
        Role::Up => "Berth",
        Role::Broker => "The broker",
        Role::Agent => "The agent",
    };
    writeln!(out, "{name} is up.")?;
    if let (Some(connect), Some(livy)) = (addresses.connect, addresses.livy) {
        writeln!(out, "  Spark Connect  sc://{connect}")?;
        writeln!(out, "  Livy           {scheme}://{livy}")?;
    }
    if let Some(kyuubi) = addresses.kyuubi {
        writeln!(out, "  Kyuubi         {scheme}://{kyuubi}")?;
    }
    if let (Some(hs2), Some(http)) = (addresses.hs2, addresses.hs2_http) {
        writeln!(
            out,
            "  HiveServer2    jdbc:hive2://{hs2}  ({scheme}://{http}/cliservice)"
        )?;
    }
    if let Some(agent) = addresses.agent {
        writeln!(out, "  agent          {agent}  (brokers only)")?;
    }
    let admin = addresses.admin;
    writeln!(
        out,
        "  admin          http://{admin}  (/metrics, /healthz, /readyz)"
    )?;
    if role == Role::Up {
        usage(&mut out, config, addresses)?;
    }
    Ok(out.flush()?)
}

fn usage(out: &mut impl Write, config: &Config, addresses: &Addresses) -> std::io::Result<()> {
    let (Some(connect), Some(livy)) = (addresses.connect, addresses.livy) else {
        return Ok(());
    };
    let data = config.data_dir.display();
    writeln!(out, "  data and logs  {data}  (drivers log below agent/drivers)")?;
    writeln!(
        out,
        "From PySpark:    SparkSession.builder.remote(\"sc://{connect}\").getOrCreate()"
    )?;
    let body = "'{\"kind\":\"pyspark\"}'";
    writeln!(
        out,
        "From curl:       curl -H 'Content-Type: application/json' -d {body} http://{livy}/sessions"
    )?;
    writeln!(out, "What is there:   berth sessions --broker http://{connect}")?;
    writeln!(out, "Ctrl-C drains and ends it.")
}

fn write_endpoints(config: &Config, addresses: &Addresses) -> anyhow::Result<()> {
    let shown = |address: Option<SocketAddr>| address.map(|address| address.to_string());
    let endpoints = serde_json::json!({
        "connect": shown(addresses.connect),
        "livy": shown(addresses.livy),
        "kyuubi": shown(addresses.kyuubi),
        "hs2": shown(addresses.hs2),
        "hs2-http": shown(addresses.hs2_http),
        "agent": shown(addresses.agent),
        "admin": addresses.admin.to_string(),
    });
    let partial = config.data_dir.join("endpoints.json.partial");
    std::fs::write(&partial, endpoints.to_string())?;
    Ok(std::fs::rename(&partial, config.data_dir.join("endpoints.json"))?)
}
