//! `berth-loadtest`: a stub driver, and benchmarks that compare Berth with going without it.

use std::io::Write;
use std::time::Duration;

use berth_loadtest::bench::latency::Latency;
use berth_loadtest::bench::recovery::Recovery;
use berth_loadtest::bench::start::Start;
use berth_loadtest::bench::throughput::Throughput;
use berth_loadtest::stub::StubDriver;
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
    /// Latency of a small call, against a direct connection.
    Latency(Latency),
    /// Bytes per second of a result, against a direct connection.
    Throughput(Throughput),
    /// From opening a session to its first answer.
    Start(Start),
    /// From the death of a session's driver to the session's next answer.
    Recovery(Recovery),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::StubDriver(stub) => serve(stub).await,
        Command::Latency(latency) => latency.run().await,
        Command::Throughput(throughput) => throughput.run().await,
        Command::Start(start) => start.run().await,
        Command::Recovery(recovery) => recovery.run().await,
    }
}

async fn serve(stub: StubDriver) -> anyhow::Result<()> {
    let tasks = Tasks::new(Shutdown::new());
    let listening = |address| {
        // A closed standard output does not keep the stub from serving.
        writeln!(std::io::stdout(), "listening on {address}").ok();
    };
    tokio::select! {
        served = stub.run(&tasks, listening) => served?,
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    tasks.stop(Duration::from_secs(1)).await;
    Ok(())
}
