//! A running process: the parts of its role, their listeners, and its orderly end.

mod doors;
mod parts;

use std::sync::Arc;
use std::time::Duration;

use berth_agent::Agent;
use berth_broker::app::Broker;
use berth_runtime::admin::{self, Readiness};
use berth_runtime::tasks::{Shutdown, Tasks};
use berth_runtime::telemetry::{self, Telemetry};
use berth_runtime::{listen, tls::Tls};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::config::{Config, Layers, Role};
use doors::Doors;

/// How long calls may go on after the first signal, where nothing else is set.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the last traces may take.
const FLUSH: Duration = Duration::from_secs(2);

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    /// End with everything that belongs to the process.
    Stop,
    /// End, and leave the drivers to the next run of the agent.
    Leave,
}

/// The parts of a process.
struct Process {
    shutdown: Shutdown,
    /// What sends clients here.
    signs: Tasks,
    doors: Tasks,
    /// The door at which other brokers ask for what runs here.
    back_door: Tasks,
    /// How long calls and connections may go on after the first signal.
    patience: Duration,
    broker: Option<Broker>,
    agent: Option<Agent>,
}

/// Runs a process until it is told to end: Ctrl-C ends it with its drivers; SIGTERM lets a `berth agent` leave them
/// to its next run, which has as long as the node's lease.
pub(crate) async fn run(role: Role, layers: &Layers) -> anyhow::Result<()> {
    let config = Config::load(layers, role)?;
    let telemetry = telemetry::init(&config.telemetry, service_name(role))?;
    let mut signals = Signals::new()?;
    let mut process = Process::new();
    let started = tokio::select! {
        started = process.start(role, config, &telemetry) => started.map(|()| true),
        _ = signals.next() => Ok(false),
    };
    let wish = match started {
        Ok(true) => match signals.next().await {
            Wish::Leave if role == Role::Agent => Wish::Leave,
            Wish::Leave | Wish::Stop => Wish::Stop,
        },
        // Nothing was served yet: what was begun has no use to anybody.
        Ok(false) | Err(_) => Wish::Stop,
    };
    process.end(wish, signals).await;
    telemetry.shutdown(FLUSH).await;
    started.map(drop)
}

fn service_name(role: Role) -> &'static str {
    match role {
        Role::Up => "berth",
        Role::Broker => "berth-broker",
        Role::Agent => "berth-agent",
    }
}

impl Process {
    fn new() -> Self {
        let shutdown = Shutdown::new();
        Self {
            signs: Tasks::new(shutdown.child()),
            doors: Tasks::new(shutdown.child()),
            back_door: Tasks::new(shutdown.child()),
            shutdown,
            patience: PATIENCE,
            broker: None,
            agent: None,
        }
    }

    /// Starts the parts of a role. What has begun when this fails, or is dropped, is for [`Process::end`].
    async fn start(&mut self, role: Role, config: Config, telemetry: &Telemetry) -> anyhow::Result<()> {
        let config = parts::prepare(config, role)?;
        let bound = Doors::bind(&config, role).await?;
        let addresses = bound.addresses()?;
        let store = parts::open_store(&config, role).await?;
        let readiness = Readiness::default();
        if let Some(listener) = bound.agent {
            let tls = self.kept(parts::agent_tls(&config, role)?);
            let agent = parts::start_agent(&config, &store, listener, &tls, &self.shutdown).await?;
            readiness.add("agent", agent.readiness());
            self.agent = Some(agent);
        }
        if let Some(clients) = bound.clients {
            self.patience += Duration::from_secs(config.broker.hs2.drain_seconds);
            let tls = self.kept(parts::peer_tls(&config)?);
            let broker = parts::start_broker(&config, &addresses, store, &tls, &self.shutdown).await?;
            readiness.add("broker", broker.readiness());
            let (locks, doors) = (doors::Locks::of(&config, &self.doors)?, &self.doors);
            doors::serve("connect", clients.connect, broker.connect_routes(), &locks, doors);
            doors::serve_livy(clients.livy, &broker, &locks, doors);
            doors::serve_kyuubi(clients.kyuubi, &broker, &locks, &self.back_door);
            doors::serve_hs2((clients.hs2, clients.hs2_http), &broker, &locks, doors);
            parts::publish(&config, &addresses, &self.signs)?;
            self.broker = Some(broker);
        }
        telemetry.recorder().keep_up(&self.doors);
        let pages = admin::routes(telemetry.recorder().clone(), readiness);
        listen::serve("admin", bound.admin, pages, &self.doors);
        doors::announce(&config, role, &addresses)
    }

    /// Certificates that are read again when they change.
    fn kept(&self, tls: Arc<Tls>) -> Arc<Tls> {
        tls.keep_fresh(&self.doors);
        tls
    }

    /// 1. send no more clients here; 2. stop accepting and let calls finish, and what runs be fetched; 3. end the broker, which gives its record
    ///    back; 4. end or leave the drivers. A second signal ends what still runs at once.
    async fn end(self, wish: Wish, mut signals: Signals) {
        let again = async {
            signals.next().await;
            self.shutdown.abort();
        };
        let orderly = async {
            self.signs.stop(PATIENCE).await;
            tokio::join!(self.doors.stop(self.patience), self.close_back_door());
            if let Some(broker) = &self.broker {
                broker.stop(PATIENCE).await;
            }
            match (&self.agent, wish) {
                (Some(agent), Wish::Stop) => agent.stop(PATIENCE).await,
                (Some(agent), Wish::Leave) => agent.leave(PATIENCE).await,
                (None, _) => {}
            }
        };
        tokio::select! {
            () = orderly => return,
            () = again => {}
        }
        if let (Some(agent), Wish::Stop) = (&self.agent, wish) {
            agent.stop(Duration::ZERO).await;
        }
    }

    /// Operations over REST and HTTP are their broker's, whichever one their clients ask.
    async fn close_back_door(&self) {
        if let Some(broker) = &self.broker {
            broker.until_fetched(self.patience.saturating_sub(PATIENCE)).await;
        }
        self.back_door.stop(PATIENCE).await;
    }
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) -> Wish {
        tokio::select! {
            _ = self.interrupt.recv() => Wish::Stop,
            _ = self.terminate.recv() => Wish::Leave,
        }
    }
}
