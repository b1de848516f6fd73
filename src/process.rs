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

/// How long calls may go on after the first signal.
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
    doors: Tasks,
    broker: Option<Broker>,
    agent: Option<Agent>,
}

/// Runs a process until it is told to end: Ctrl-C ends it with its drivers; SIGTERM lets a `berth agent` leave them
/// to its next run, which has as long as the node's lease.
pub(crate) async fn run(role: Role, layers: &Layers) -> anyhow::Result<()> {
    let config = Config::load(layers, role)?;
    let telemetry = telemetry::init(&config.telemetry, service_name(role))?;
    let mut signals = Signals::new()?;
    let started = tokio::select! {
        started = start(role, config, &telemetry) => started?,
        // Nothing is served yet: what was begun ends with the process or with its lease.
        _ = signals.next() => return Ok(()),
    };
    let wish = match signals.next().await {
        Wish::Leave if role == Role::Agent => Wish::Leave,
        Wish::Leave | Wish::Stop => Wish::Stop,
    };
    started.end(wish, signals).await;
    telemetry.shutdown(FLUSH).await;
    Ok(())
}

fn service_name(role: Role) -> &'static str {
    match role {
        Role::Up => "berth",
        Role::Broker => "berth-broker",
        Role::Agent => "berth-agent",
    }
}

async fn start(role: Role, config: Config, telemetry: &Telemetry) -> anyhow::Result<Process> {
    let config = parts::prepare(config, role)?;
    let bound = Doors::bind(&config, role).await?;
    let addresses = bound.addresses()?;
    let store = parts::open_store(&config, role).await?;
    let shutdown = Shutdown::new();
    let (doors, readiness) = (Tasks::new(shutdown.child()), Readiness::default());
    let keep = |tls: Arc<Tls>| {
        tls.keep_fresh(&doors);
        tls
    };
    let agent = match bound.agent {
        Some(listener) => {
            let tls = keep(parts::agent_tls(&config, role)?);
            let agent = parts::start_agent(&config, &store, listener, &tls, &shutdown).await?;
            readiness.add("agent", agent.readiness());
            Some(agent)
        }
        None => None,
    };
    let broker = match bound.clients {
        Some(clients) => {
            let tls = keep(parts::peer_tls(&config)?);
            let broker = parts::start_broker(&config, &addresses, store, &tls, &shutdown).await?;
            readiness.add("broker", broker.readiness());
            let locks = doors::Locks::of(&config, &doors)?;
            doors::serve(
                "connect",
                clients.connect,
                broker.connect_routes(),
                &locks,
                &doors,
            );
            doors::serve("livy", clients.livy, broker.livy_routes(), &locks, &doors);
            Some(broker)
        }
        None => None,
    };
    telemetry.recorder().keep_up(&doors);
    let pages = admin::routes(telemetry.recorder().clone(), readiness);
    listen::serve("admin", bound.admin, pages, &doors);
    doors::announce(&config, role, &addresses)?;
    Ok(Process {
        shutdown,
        doors,
        broker,
        agent,
    })
}

impl Process {
    /// 1. stop accepting and let calls finish; 2. end the broker, which gives its record back; 3. end or leave the
    ///    drivers. A second signal ends what still runs at once.
    async fn end(self, wish: Wish, mut signals: Signals) {
        let again = async {
            signals.next().await;
            self.shutdown.abort();
        };
        let orderly = async {
            self.doors.stop(PATIENCE).await;
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
