//! From opening a session to its first answered statement.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;

use crate::client::Client;
use crate::pace::Sample;
use crate::report::{Report, SAMPLE_COLUMNS};
use crate::target::Target;

/// Parameters of the start benchmark. Whether a driver is warm is the profile's matter: give the warm pool time to
/// refill with `--pause`, or measure cold starts on a profile without one.
#[derive(Debug, Clone, Args)]
pub struct Start {
    /// Berth: host:port or sc://host:port/;token=...;header=value
    #[arg(long)]
    via: Target,
    /// Berth's token.
    #[arg(long, env = "BERTH_TOKEN", hide_env_values = true)]
    via_token: Option<String>,
    /// How many sessions to open, one after the other.
    #[arg(long, default_value_t = 5)]
    sessions: u32,
    /// Seconds between one session's end and the next one's beginning.
    #[arg(long, default_value_t = 15.0)]
    pause: f64,
    /// The first statement.
    #[arg(long, default_value = "select 1")]
    query: String,
    /// What to call the row: "warm", "cold".
    #[arg(long, default_value = "first statement")]
    label: String,
    /// Write the result as JSON here too.
    #[arg(long)]
    json: Option<PathBuf>,
}

impl Start {
    /// Opens sessions one by one and times each one's first answer.
    ///
    /// # Errors
    /// When Berth cannot be reached.
    pub async fn run(&self) -> anyhow::Result<()> {
        let connection = Client::connect(&self.via.clone().with_token(self.via_token.clone())).await?;
        let mut sample = Sample::new()?;
        for n in 0..self.sessions {
            if n > 0 {
                tokio::time::sleep(Duration::from_secs_f64(self.pause.max(0.0))).await;
            }
            let client = connection.with_new_session();
            let begun = Instant::now();
            let outcome = client.query(&self.query).await;
            sample.record(begun.elapsed(), &outcome);
            client.close().await.ok();
        }
        let mut report = Report::new("start", &SAMPLE_COLUMNS);
        report.sample(&self.label, &sample);
        report.write(self.json.as_deref())
    }
}
