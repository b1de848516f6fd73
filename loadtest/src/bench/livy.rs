//! Livy's two most frequent calls: a session's state and a statement's, as clients poll them.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use berth_runtime::tasks::{Shutdown, Tasks};
use clap::Args;
use futures_util::future::join_all;

use crate::pace::{Pace, Sample};
use crate::report::{Report, SAMPLE_COLUMNS};
use crate::rest::Rest;

/// Parameters of the benchmark of Livy's reads. The session and its statement have to be there.
#[derive(Debug, Clone, Args)]
pub struct Livy {
    /// Berth's Livy address: host:port.
    #[arg(long)]
    via: String,
    /// Berth's token.
    #[arg(long, env = "BERTH_TOKEN", hide_env_values = true)]
    via_token: Option<String>,
    /// The session's number.
    #[arg(long)]
    session: u32,
    /// The number of a statement of it.
    #[arg(long, default_value_t = 0)]
    statement: u32,
    /// Requests a second of each kind, one kind at a time.
    #[arg(long, default_value_t = 500.0)]
    rate: f64,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Connections that ask without a pause, to find out how much one broker answers.
    #[arg(long, default_value_t = 32)]
    connections: usize,
    /// Write the result as JSON here too.
    #[arg(long)]
    json: Option<PathBuf>,
}

impl Livy {
    /// Reads at the given rate, then as fast as answers come.
    ///
    /// # Errors
    /// When Berth cannot be reached or an answer is not 200.
    pub async fn run(&self) -> anyhow::Result<()> {
        let tasks = Tasks::new(Shutdown::new());
        let rest = Rest::new(self.via.clone(), self.via_token.clone(), tasks.clone());
        let session = format!("/sessions/{}", self.session);
        let state = format!("{session}/state");
        let statement = format!("{session}/statements/{}", self.statement);
        let kinds = [
            ("GET session", session.as_str()),
            ("GET state", state.as_str()),
            ("GET statement", statement.as_str()),
        ];
        let mut report = Report::new("livy", &SAMPLE_COLUMNS);
        for (name, path) in kinds {
            self.paced(&rest, path).await?; // Warms connections and caches up.
            let sample = self.paced(&rest, path).await?;
            report.sample(&format!("{name}, {} a second", self.rate), &sample);
        }
        for (name, path) in kinds {
            let (sample, rate) = self.flat_out(&rest, path).await?;
            report.sample(&format!("{name}, {} connections", self.connections), &sample);
            report.note(format!("{name}: {rate:.0} answers a second"));
        }
        drop(rest);
        tasks.stop(Duration::from_secs(1)).await;
        report.write(self.json.as_deref())
    }

    async fn paced(&self, rest: &Rest, path: &str) -> anyhow::Result<Sample> {
        let mut sample = Sample::new()?;
        let pace = Pace {
            rate: self.rate,
            duration: Duration::from_secs_f64(self.seconds.max(0.0)),
        };
        pace.run(&mut sample, || rest.get(path)).await?;
        Ok(sample)
    }

    /// Each connection asks again as soon as it has its answer; gives the answers a second too.
    async fn flat_out(&self, rest: &Rest, path: &str) -> anyhow::Result<(Sample, f64)> {
        let begun = Instant::now();
        let end = begun + Duration::from_secs_f64(self.seconds.max(0.0));
        let asking = (0..self.connections).map(|_| async move {
            let mut sample = Sample::new()?;
            while Instant::now() < end {
                let asked = Instant::now();
                let outcome = rest.get(path).await;
                sample.record(asked.elapsed(), &outcome);
            }
            anyhow::Ok(sample)
        });
        let mut all = Sample::new()?;
        for sample in join_all(asking).await {
            all.add(&sample?)?;
        }
        #[allow(clippy::cast_precision_loss, reason = "far below 2^53 answers")]
        let rate = all.latency.len() as f64 / begun.elapsed().as_secs_f64();
        Ok((all, rate))
    }
}
