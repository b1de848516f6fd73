//! What can be typed.

use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

use crate::{commands, up};

/// High-availability session broker for Apache Spark.
#[derive(Debug, Parser)]
#[command(name = "berth", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs a whole one-node Berth: store, agent and broker in one process.
    Up(Box<UpArgs>),
    /// Lists sessions.
    Sessions(ClientArgs),
    /// Lists nodes with what they have free.
    Nodes(ClientArgs),
    /// Lists drivers with their processes.
    Drivers(ClientArgs),
    /// Lists brokers.
    Brokers(ClientArgs),
    /// Tells why a session is where it is, and what its state consists of.
    Explain(OneArgs),
    /// Ends a session.
    Close(OneArgs),
    /// Stops placing sessions on a node.
    Drain(DrainArgs),
    /// Makes a trial CA with certificates for brokers and agents.
    Certs(CertsArgs),
    /// Prints a completion script for a shell.
    Completion {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Args)]
pub(crate) struct UpArgs {
    /// Where the store, blobs, certificates and logs are kept.
    #[arg(long, env = "BERTH_DATA_DIR", default_value = "berth-data")]
    pub(crate) data_dir: PathBuf,
    /// Python with PySpark 4 for the drivers.
    #[arg(long, env = "BERTH_PYTHON", default_value = "python3")]
    pub(crate) python: PathBuf,
    /// Address of Spark Connect and of the native API; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:15002")]
    pub(crate) connect: std::net::SocketAddr,
    /// Address of the admin pages.
    #[arg(long, default_value = "127.0.0.1:8900")]
    pub(crate) admin: std::net::SocketAddr,
    /// Address of the agent.
    #[arg(long, default_value = "127.0.0.1:7450")]
    pub(crate) agent: std::net::SocketAddr,
    /// Started drivers to keep ready.
    #[arg(long, default_value_t = 1)]
    pub(crate) warm: u32,
    /// Spark master of the drivers.
    #[arg(long, default_value = "local[2]")]
    pub(crate) master: String,
    /// Heap of each driver.
    #[arg(long, default_value = "1g")]
    pub(crate) heap: String,
    /// Memory that drivers may reserve together, in MiB; 80 % of the machine's if absent.
    #[arg(long)]
    pub(crate) memory_mib: Option<u64>,
    /// Sessions that one tenant may have at once.
    #[arg(long, default_value_t = 1000)]
    pub(crate) max_sessions: u64,
    /// What is logged, as in RUST_LOG.
    #[arg(long, env = "BERTH_LOG", default_value = "info")]
    pub(crate) log: String,
    /// OTLP endpoint (gRPC) that gets traces, such as http://127.0.0.1:4317; no traces if absent.
    #[arg(long, env = "BERTH_OTLP_ENDPOINT")]
    pub(crate) otlp_endpoint: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ClientArgs {
    /// Address of a broker.
    #[arg(long, env = "BERTH_BROKER", default_value = "http://127.0.0.1:15002")]
    pub(crate) broker: String,
    /// How to print.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
}

#[derive(Debug, Args)]
struct OneArgs {
    /// The session's id, from 'berth sessions'.
    id: String,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Debug, Args)]
struct DrainArgs {
    /// The node's id, from 'berth nodes'.
    id: String,
    /// Takes the node back into service.
    #[arg(long)]
    undo: bool,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Debug, Args)]
struct CertsArgs {
    /// Where to write them.
    directory: PathBuf,
    /// Further names or addresses of the certificates.
    #[arg(long = "host")]
    hosts: Vec<String>,
}

/// How lists are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// Runs what was typed.
pub(crate) async fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        Command::Up(args) => up::run(*args).await,
        Command::Sessions(args) => commands::sessions(&args).await,
        Command::Nodes(args) => commands::nodes(&args).await,
        Command::Drivers(args) => commands::drivers(&args).await,
        Command::Brokers(args) => commands::brokers(&args).await,
        Command::Explain(args) => commands::explain(&args.client, args.id).await,
        Command::Close(args) => commands::close(&args.client, args.id).await,
        Command::Drain(args) => commands::drain(&args.client, args.id, args.undo).await,
        Command::Certs(args) => {
            std::fs::create_dir_all(&args.directory)?;
            Ok(berth_runtime::certs::make(&args.directory, &args.hosts)?)
        }
        Command::Completion { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "berth", &mut std::io::stdout());
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_are_consistent() {
        Cli::command().debug_assert();
    }
}
