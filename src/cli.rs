//! What can be typed.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

use crate::config::{self, Config, Key, Layers, Role, assignment, text_variables};
use crate::{commands, process};

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
    /// Runs a broker against etcd.
    Broker(ConfigArgs),
    /// Runs the agent of a node against etcd. SIGTERM leaves its drivers to its next run.
    Agent(ConfigArgs),
    /// Prints the effective configuration, with the place that each value came from.
    Config(ShowArgs),
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
    /// Follows sessions: one line for each change, until Ctrl-C.
    Watch(ClientArgs),
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

/// Where settings come from besides the environment.
#[derive(Debug, Default, Args)]
pub(crate) struct ConfigArgs {
    /// Configuration file, TOML.
    #[arg(long, short, env = "BERTH_CONFIG")]
    config: Option<PathBuf>,
    /// Sets one setting, such as broker.hold-seconds=60; may be given again.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = assignment)]
    sets: Vec<(Key, toml::Value)>,
}

impl ConfigArgs {
    /// The file, the environment and the flags, with `named` flags before those of `--set`.
    fn layers(self, named: Vec<(String, Key, toml::Value)>) -> anyhow::Result<Layers> {
        let sets = self
            .sets
            .into_iter()
            .map(|(key, value)| ("--set".to_owned(), key, value));
        Layers::gather(
            self.config.as_deref(),
            text_variables(),
            named.into_iter().chain(sets),
        )
    }
}

/// Flags of `berth up`, each a short form of a setting. The last of several wins.
#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub(crate) struct UpArgs {
    /// Where the store, blobs, certificates and logs are kept; berth-data if absent.
    #[arg(long, env = "BERTH_DATA_DIR")]
    data_dir: Option<String>,
    /// Python with PySpark 4 for the drivers; python3 if absent.
    #[arg(long, env = "BERTH_PYTHON")]
    python: Option<String>,
    /// Address of Spark Connect and of the native API; port 0 takes a free one. Each address has its default port.
    #[arg(long)]
    connect: Option<String>,
    /// Address of Livy's REST API.
    #[arg(long)]
    livy: Option<String>,
    /// Address of Kyuubi's REST API.
    #[arg(long)]
    kyuubi: Option<String>,
    /// Address of HiveServer2's Thrift protocol.
    #[arg(long)]
    hs2: Option<String>,
    /// Address of HiveServer2's Thrift protocol over HTTP.
    #[arg(long)]
    hs2_http: Option<String>,
    /// Address of the admin pages.
    #[arg(long)]
    admin: Option<String>,
    /// Address of the agent.
    #[arg(long)]
    agent: Option<String>,
    /// Started drivers to keep ready.
    #[arg(long)]
    warm: Option<u32>,
    /// Spark master of the drivers.
    #[arg(long)]
    master: Option<String>,
    /// Heap of each driver.
    #[arg(long)]
    heap: Option<String>,
    /// Memory that drivers may reserve together, in MiB; 80 % of the machine's if absent.
    #[arg(long)]
    memory_mib: Option<u32>,
    /// Sessions that one tenant may have at once.
    #[arg(long)]
    max_sessions: Option<u32>,
    /// What is logged: a level, or levels by module.
    #[arg(long, env = "BERTH_LOG")]
    log: Option<String>,
    #[command(flatten)]
    config: ConfigArgs,
}

impl UpArgs {
    fn layers(self) -> anyhow::Result<Layers> {
        let profile = |name| ["agent", "profiles", "default", name].map(str::to_owned).to_vec();
        let key = |parts: &[&str]| parts.iter().map(|part| (*part).to_owned()).collect::<Key>();
        let number = |value: u32| toml::Value::Integer(value.into());
        let bytes = |mib: u32| toml::Value::Integer(i64::from(mib) << 20);
        let text = toml::Value::String;
        let flags = [
            ("--data-dir", key(&["data-dir"]), self.data_dir.map(text)),
            ("--python", key(&["agent", "python"]), self.python.map(text)),
            ("--connect", key(&["listen", "connect"]), self.connect.map(text)),
            ("--livy", key(&["listen", "livy"]), self.livy.map(text)),
            ("--kyuubi", key(&["listen", "kyuubi"]), self.kyuubi.map(text)),
            ("--hs2", key(&["listen", "hs2"]), self.hs2.map(text)),
            (
                "--hs2-http",
                key(&["listen", "hs2-http"]),
                self.hs2_http.map(text),
            ),
            ("--admin", key(&["listen", "admin"]), self.admin.map(text)),
            ("--agent", key(&["listen", "agent"]), self.agent.map(text)),
            ("--warm", profile("warm"), self.warm.map(number)),
            ("--master", profile("master"), self.master.map(text)),
            ("--heap", profile("heap"), self.heap.map(text)),
            (
                "--memory-mib",
                key(&["agent", "memory-capacity-bytes"]),
                self.memory_mib.map(bytes),
            ),
            (
                "--max-sessions",
                key(&["broker", "default-limits", "sessions"]),
                self.max_sessions.map(number),
            ),
            ("--log", key(&["telemetry", "log-level"]), self.log.map(text)),
        ];
        let given = flags
            .into_iter()
            .filter_map(|(flag, key, value)| Some((flag.to_owned(), key, value?)));
        self.config.layers(given.collect())
    }
}

#[derive(Debug, Args)]
struct ShowArgs {
    /// Which process is asked about.
    #[arg(long, value_enum, default_value_t = Role::Up)]
    role: Role,
    /// How to print.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    output: Format,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ClientArgs {
    /// Address of a broker; https where it has a certificate.
    #[arg(long, env = "BERTH_BROKER", default_value = "http://127.0.0.1:15002")]
    pub(crate) broker: String,
    /// Token to show, where the broker asks for one. Better given as an environment variable.
    #[arg(long, env = "BERTH_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// CA of the broker's certificate, PEM. Needed with https.
    #[arg(long, env = "BERTH_CA")]
    pub(crate) ca: Option<PathBuf>,
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
        Command::Up(args) => process::run(Role::Up, &args.layers()?).await,
        Command::Broker(args) => process::run(Role::Broker, &args.layers(Vec::new())?).await,
        Command::Agent(args) => process::run(Role::Agent, &args.layers(Vec::new())?).await,
        Command::Config(args) => show(args),
        Command::Sessions(args) => commands::sessions(&args).await,
        Command::Nodes(args) => commands::nodes(&args).await,
        Command::Drivers(args) => commands::drivers(&args).await,
        Command::Brokers(args) => commands::brokers(&args).await,
        Command::Explain(args) => commands::explain(&args.client, args.id).await,
        Command::Watch(args) => commands::watch(&args).await,
        Command::Close(args) => commands::close(&args.client, args.id).await,
        Command::Drain(args) => commands::drain(&args.client, args.id, args.undo).await,
        Command::Certs(args) => certs(&args),
        Command::Completion { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "berth", &mut std::io::stdout());
            Ok(())
        }
    }
}

fn show(args: ShowArgs) -> anyhow::Result<()> {
    let layers = args.config.layers(Vec::new())?;
    let config = Config::load(&layers, args.role)?;
    let text = match args.output {
        Format::Table => config::as_toml(&config, &layers)?,
        Format::Json => config::as_json(&config, &layers)?,
    };
    Ok(writeln!(std::io::stdout(), "{}", text.trim_end())?)
}

fn certs(args: &CertsArgs) -> anyhow::Result<()> {
    let directory = args.directory.display();
    std::fs::create_dir_all(&args.directory)
        .with_context(|| format!("{directory} cannot be written to; name another directory"))?;
    Ok(berth_runtime::certs::make(&args.directory, &args.hosts)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_are_consistent() {
        Cli::command().debug_assert();
    }
}
