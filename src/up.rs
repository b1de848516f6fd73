//! `berth up`: a whole Berth in one process, on the embedded store.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use berth_agent::{Agent, AgentConfig, ProfileConfig};
use berth_broker::app::Broker;
use berth_broker::config::BrokerConfig;
use berth_core::admission::Limits;
use berth_runtime::tasks::{Shutdown, Tasks};
use berth_runtime::telemetry::TelemetryConfig;
use berth_runtime::tls::TlsFiles;
use berth_runtime::{admin, certs, listen, telemetry};
use berth_store::StoreRef;
use berth_store::blobs::Blobs;
use berth_store::embedded::Embedded;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::UpArgs;

/// How long calls may go on after the first Ctrl-C.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the last traces may take.
const FLUSH: Duration = Duration::from_secs(2);

/// Runs until Ctrl-C or SIGTERM.
pub(crate) async fn run(args: UpArgs) -> anyhow::Result<()> {
    let telemetry = telemetry::init(&telemetry_config(&args), "berth")?;
    let recorder = telemetry.recorder().clone();
    let data = prepare(&args.data_dir)?;
    let store: StoreRef = Embedded::open(&data.join("store"))?;
    let blobs = Blobs::directory(&data.join("blobs"))?;
    let (connect, admin_port, agent_port) = (
        bind(args.connect, "--connect").await?,
        bind(args.admin, "--admin").await?,
        bind(args.agent, "--agent").await?,
    );
    let addresses = (connect.local_addr()?, admin_port.local_addr()?);
    let tls = data.join("certs");

    let shutdown = Shutdown::new();
    let agent_tls = TlsFiles::of_role(&tls, "agent").server()?;
    let agent = agent_config(&args, &data)?;
    let agent = Agent::start(agent, Arc::clone(&store), agent_port, agent_tls, shutdown.child()).await?;
    let broker_tls = TlsFiles::of_role(&tls, "broker").client()?;
    let config = broker_config(&args)?;
    let broker = Broker::start(
        config,
        addresses.1.to_string(),
        Arc::clone(&store),
        blobs,
        &broker_tls,
        shutdown.child(),
    )
    .await?;
    let doors = Tasks::new(shutdown.child());
    listen::serve("connect", connect, broker.routes(), &doors);
    recorder.keep_up(&doors);
    listen::serve("admin", admin_port, admin::routes(recorder), &doors);
    announce(&data, addresses)?;

    wait_for_signal().await?;
    // 1. stop accepting and let calls finish; 2. end the broker, which gives its record back; 3. end the drivers.
    let again = async { wait_for_signal().await.map(|()| shutdown.abort()) };
    let orderly = async {
        doors.stop(PATIENCE).await;
        broker.stop(PATIENCE).await;
        agent.stop(PATIENCE).await;
    };
    tokio::select! {
        () = orderly => {}
        hasty = again => {
            hasty?;
            agent.stop(Duration::ZERO).await;
        }
    }
    telemetry.shutdown(FLUSH).await;
    Ok(())
}

fn telemetry_config(args: &UpArgs) -> TelemetryConfig {
    TelemetryConfig {
        log_level: args.log.clone(),
        otlp_endpoint: args.otlp_endpoint.clone(),
        ..TelemetryConfig::default()
    }
}

fn prepare(data: &Path) -> anyhow::Result<PathBuf> {
    let unusable = || {
        format!(
            "the data directory {} cannot be used; choose one that this user can write to with --data-dir",
            data.display()
        )
    };
    let certificates = data.join("certs");
    std::fs::create_dir_all(&certificates).with_context(unusable)?;
    let data = data.canonicalize().with_context(unusable)?;
    if !certificates.join("ca.pem").exists() {
        certs::make(&certificates, &["127.0.0.1".to_owned(), "localhost".to_owned()])?;
    }
    Ok(data)
}

async fn bind(address: SocketAddr, flag: &str) -> anyhow::Result<TcpListener> {
    if !address.ip().is_loopback() {
        return Err(anyhow!(
            "{flag} {address}: 'berth up' has no authentication and listens on loopback addresses only"
        ));
    }
    let bound = TcpListener::bind(address).await;
    bound.with_context(|| format!("{address} cannot be listened on; choose another address with {flag}"))
}

fn agent_config(args: &UpArgs, data: &Path) -> anyhow::Result<AgentConfig> {
    let profile = ProfileConfig {
        master: args.master.clone(),
        heap: args.heap.clone(),
        warm: args.warm,
        ..ProfileConfig::default()
    };
    let memory = match args.memory_mib {
        Some(mib) => mib << 20,
        None => memory_bytes()? / 5 * 4,
    };
    Ok(AgentConfig {
        memory_capacity_bytes: memory,
        profiles: BTreeMap::from([("default".parse()?, profile)]),
        ..AgentConfig::new("local".parse()?, data.join("agent"), args.python.clone())
    })
}

fn broker_config(args: &UpArgs) -> anyhow::Result<BrokerConfig> {
    Ok(BrokerConfig {
        default_tenant: "default".parse()?,
        default_profile: "default".parse()?,
        hold_seconds: 300,
        lease_seconds: 10,
        default_limits: Limits {
            sessions: args.max_sessions,
            ..Limits::default()
        },
        tenants: BTreeMap::new(),
    })
}

/// The machine's memory.
fn memory_bytes() -> anyhow::Result<u64> {
    let info = std::fs::read_to_string("/proc/meminfo")
        .context("the machine's memory cannot be read; set --memory-mib")?;
    let total = info.lines().find_map(|line| {
        line.strip_prefix("MemTotal:")?
            .trim()
            .strip_suffix(" kB")?
            .parse()
            .ok()
    });
    let kib: u64 = total.ok_or_else(|| anyhow!("/proc/meminfo has no MemTotal; set --memory-mib"))?;
    Ok(kib << 10)
}

fn announce(data: &Path, (connect, admin): (SocketAddr, SocketAddr)) -> anyhow::Result<()> {
    let endpoints = serde_json::json!({ "connect": connect.to_string(), "admin": admin.to_string() });
    let partial = data.join("endpoints.json.partial");
    std::fs::write(&partial, endpoints.to_string())?;
    std::fs::rename(&partial, data.join("endpoints.json"))?;
    let mut out = std::io::stdout();
    writeln!(out, "Berth is up.")?;
    writeln!(out, "  Spark Connect  sc://{connect}")?;
    writeln!(
        out,
        "  admin          http://{admin}  (/metrics, /healthz, /readyz)"
    )?;
    writeln!(
        out,
        "  data and logs  {}  (drivers log below agent/drivers)",
        data.display()
    )?;
    writeln!(
        out,
        "From PySpark:    SparkSession.builder.remote(\"sc://{connect}\").getOrCreate()"
    )?;
    writeln!(out, "What is there:   berth sessions --broker http://{connect}")?;
    Ok(writeln!(out, "Ctrl-C drains and ends it.")?)
}

async fn wait_for_signal() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => Ok(interrupted?),
        _ = terminate.recv() => Ok(()),
    }
}
