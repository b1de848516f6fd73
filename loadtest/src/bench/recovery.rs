//! From the death of a session's driver to the session's next answer, its state intact.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use berth_core::ids::SessionId;
use berth_proto::v1::berth_client::BerthClient;
use berth_proto::v1::{Driver, ListDriversRequest};
use clap::Args;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tonic::Request;

use crate::client::Client;
use crate::pace::Sample;
use crate::report::{Report, SAMPLE_COLUMNS};
use crate::target::Target;

const VIEW: &str = "berth_loadtest";
const CONF: &str = "spark.sql.shuffle.partitions";
const CONF_VALUE: &str = "7";

/// Parameters of the recovery benchmark. It kills driver processes on this machine, of its own session only.
#[derive(Debug, Clone, Args)]
pub struct Recovery {
    /// Berth on this machine: host:port or sc://host:port/;token=...
    #[arg(long)]
    via: Target,
    /// Berth's token.
    #[arg(long, env = "BERTH_TOKEN", hide_env_values = true)]
    via_token: Option<String>,
    /// How often to kill the session's driver.
    #[arg(long, default_value_t = 5)]
    kills: u32,
    /// Seconds before each kill, for the warm pool to refill.
    #[arg(long, default_value_t = 15.0)]
    pause: f64,
    /// Write the result as JSON here too.
    #[arg(long)]
    json: Option<PathBuf>,
}

impl Recovery {
    /// Kills the session's driver again and again and times the next answer.
    ///
    /// # Errors
    /// When Berth cannot be reached, or does not list a driver of the session.
    pub async fn run(&self) -> anyhow::Result<()> {
        let client = Client::connect(&self.via.clone().with_token(self.via_token.clone())).await?;
        client.config_set(CONF, CONF_VALUE).await?;
        client
            .command(&format!(
                "create or replace temporary view {VIEW} as select 1 as a"
            ))
            .await?;
        let mut sample = Sample::new()?;
        for _ in 0..self.kills {
            tokio::time::sleep(Duration::from_secs_f64(self.pause.max(0.0))).await;
            let driver = driver_of(&client).await?;
            kill_now(&driver)?;
            let begun = Instant::now();
            let outcome = client.query(&format!("select a from {VIEW}")).await;
            sample.record(begun.elapsed(), &outcome);
            if outcome.is_ok() {
                check_conf(&client).await?;
            }
        }
        client.close().await.ok();
        let mut report = Report::new("recovery", &SAMPLE_COLUMNS);
        report.sample("kill to next answer", &sample);
        report.note("state checked after each kill: a temporary view and a conf");
        report.write(self.json.as_deref())
    }
}

async fn check_conf(client: &Client) -> anyhow::Result<()> {
    let value = client.config_get(CONF).await?;
    ensure!(
        value.as_deref() == Some(CONF_VALUE),
        "{CONF} was {CONF_VALUE} before the kill and is {value:?} after it: the session lost state"
    );
    Ok(())
}

async fn driver_of(client: &Client) -> anyhow::Result<Driver> {
    let session = SessionId::for_connect(client.user(), client.session()).to_string();
    let mut request = Request::new(ListDriversRequest {});
    *request.metadata_mut() = client.metadata().clone();
    let mut berth = BerthClient::new(client.channel());
    let drivers = berth
        .list_drivers(request)
        .await
        .context("asking Berth for its drivers")?
        .into_inner()
        .drivers;
    let found = drivers
        .into_iter()
        .find(|driver| driver.sessions.contains(&session));
    found.with_context(|| format!("Berth lists no driver of session {session}"))
}

fn kill_now(driver: &Driver) -> anyhow::Result<()> {
    let pid = if driver.jvm_pid > 0 {
        driver.jvm_pid
    } else {
        driver.pid
    };
    let pid = i32::try_from(pid).context("not a process id")?;
    if pid <= 1 {
        bail!("driver {} has no process id", driver.id);
    }
    kill(Pid::from_raw(pid), Signal::SIGKILL).with_context(|| format!("killing process {pid}"))
}
