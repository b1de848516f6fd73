//! `berth-loadtest`: a stub driver, and benchmarks that compare Berth with going without it.

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use berth_loadtest::bench::latency::Latency;
use berth_loadtest::bench::livy::Livy;
use berth_loadtest::bench::recovery::Recovery;
use berth_loadtest::bench::start::Start;
use berth_loadtest::bench::throughput::Throughput;
use berth_loadtest::stub::StubDriver;
use berth_loadtest::stub::node::StubNode;
use berth_runtime::tasks::{Shutdown, Tasks};
use clap::{Parser, Subcommand};

/// Load generator and benchmarks of Berth.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve Spark Connect with canned answers.
    StubDriver(StubDriver),
    /// Be a node that takes every session and has no drivers.
    StubNode(StubNode),
    /// Latency of a small call, against a direct connection.
    Latency(Latency),
    /// Bytes per second of a result, against a direct connection.
    Throughput(Throughput),
    /// From opening a session to its first answer.
    Start(Start),
    /// From the death of a session's driver to the session's next answer.
    Recovery(Recovery),
    /// Livy's reads: latency at a rate, and how many answers a second.
    Livy(Livy),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::StubDriver(stub) => serve(async move |tasks: &Tasks| stub.run(tasks, listening).await).await,
        Command::StubNode(stub) => serve(async move |tasks: &Tasks| stub.run(tasks, listening).await).await,
        Command::Latency(latency) => latency.run().await,
        Command::Throughput(throughput) => throughput.run().await,
        Command::Start(start) => start.run().await,
        Command::Recovery(recovery) => recovery.run().await,
        Command::Livy(livy) => livy.run().await,
    }
}

fn listening(address: SocketAddr) {
    // A closed standard output does not keep a stub from serving.
    writeln!(std::io::stdout(), "listening on {address}").ok();
}

async fn serve(stub: impl AsyncFnOnce(&Tasks) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let tasks = Tasks::new(Shutdown::new());
    tokio::select! {
        served = stub(&tasks) => served?,
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    tasks.stop(Duration::from_secs(1)).await;
    Ok(())
}
