//! How fast Arrow results stream through Berth, against without it.

use std::time::{Duration, Instant};

use clap::Args;

use super::Sides;
use crate::client::{Client, Received};
use crate::report::Report;

/// Parameters of the throughput benchmark.
#[derive(Debug, Clone, Args)]
pub struct Throughput {
    #[command(flatten)]
    sides: Sides,
    /// The query; its rows are counted and thrown away.
    #[arg(long, default_value = "select id, id * 2 as b from range(0, 16000000, 1, 64)")]
    query: String,
    /// Runs on each side, in turns, that count.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Runs on each side before those, beside the one that opens the session: drivers compile what runs often.
    #[arg(long, default_value_t = 0)]
    warm_up: u32,
    /// Seconds from the opening of the sessions to the next run, for the warm pool to refill.
    #[arg(long, default_value_t = 0.0)]
    pause: f64,
}

struct Side {
    name: &'static str,
    client: Client,
    received: Received,
    rates: Vec<f64>,
}

impl Side {
    /// MB a second of one run.
    async fn run(&mut self, query: &str) -> anyhow::Result<f64> {
        let begun = Instant::now();
        self.received = self.client.query(query).await?;
        Ok(bytes_as_mb(self.received.bytes) / begun.elapsed().as_secs_f64())
    }

    /// The median of the rates.
    fn median(&self) -> f64 {
        let mut rates = self.rates.clone();
        rates.sort_by(f64::total_cmp);
        rates.get(rates.len() / 2).copied().unwrap_or_default()
    }

    fn row(&self) -> Vec<String> {
        let slowest = self.rates.iter().copied().fold(f64::INFINITY, f64::min);
        let fastest = self.rates.iter().copied().fold(0.0, f64::max);
        vec![
            self.name.to_owned(),
            self.rates.len().to_string(),
            format!("{:.1}", bytes_as_mb(self.received.bytes)),
            self.received.messages.to_string(),
            format!("{:.1}", self.median()),
            format!("{slowest:.1} - {fastest:.1}"),
        ]
    }
}

#[allow(clippy::cast_precision_loss, reason = "results are far below 2^53 bytes")]
fn bytes_as_mb(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

impl Throughput {
    /// Streams the query's result on both sides in turns.
    ///
    /// # Errors
    /// When a side cannot be reached or the query fails.
    pub async fn run(&self) -> anyhow::Result<()> {
        let mut targets = Vec::new();
        targets.extend(self.sides.direct().map(|direct| ("direct", direct)));
        targets.push(("via Berth", self.sides.via()));
        let mut sides = Vec::new();
        for (name, target) in targets {
            let client = Client::connect(&target).await?;
            client.query(&self.query).await?;
            sides.push(Side {
                name,
                client,
                received: Received::default(),
                rates: Vec::new(),
            });
        }
        tokio::time::sleep(Duration::from_secs_f64(self.pause.max(0.0))).await;
        for round in 0..self.warm_up.saturating_add(self.rounds.max(1)) {
            for side in &mut sides {
                let rate = side.run(&self.query).await?;
                if round >= self.warm_up {
                    side.rates.push(rate);
                }
            }
        }
        for side in &sides {
            side.client.close().await.ok();
        }
        report(&sides).write(self.sides.json.as_deref())
    }
}

fn report(sides: &[Side]) -> Report {
    let columns = [
        "what",
        "runs",
        "MB a run",
        "messages",
        "MB/s median",
        "MB/s range",
    ];
    let mut report = Report::new("throughput", &columns);
    for side in sides {
        report.row(side.row());
    }
    if let [direct, via] = sides {
        let ratio = via.median() / direct.median();
        report.note(format!(
            "through Berth: {ratio:.3} of the bytes per second (medians)"
        ));
    }
    report
}
