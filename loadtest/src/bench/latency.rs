//! What Berth adds to the latency of a small call.

use std::time::Duration;

use clap::Args;

use super::Sides;
use crate::client::Client;
use crate::pace::{Pace, Sample};
use crate::report::{Report, SAMPLE_COLUMNS, millis};

/// Parameters of the latency benchmark.
#[derive(Debug, Clone, Args)]
pub struct Latency {
    #[command(flatten)]
    sides: Sides,
    /// Calls a second on each side, one side at a time.
    #[arg(long, default_value_t = 500.0)]
    rate: f64,
    /// Seconds of each round.
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// Rounds; the sides take turns.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// The conf to read.
    #[arg(long, default_value = "spark.sql.shuffle.partitions")]
    key: String,
}

struct Side {
    name: &'static str,
    client: Client,
    sample: Sample,
}

impl Side {
    async fn connect(name: &'static str, target: &crate::target::Target) -> anyhow::Result<Self> {
        Ok(Self {
            name,
            client: Client::connect(target).await?,
            sample: Sample::new()?,
        })
    }
}

impl Latency {
    /// Measures `Config.get` on both sides in turns.
    ///
    /// # Errors
    /// When a side cannot be reached.
    pub async fn run(&self) -> anyhow::Result<()> {
        let mut sides = Vec::new();
        if let Some(direct) = self.sides.direct() {
            sides.push(Side::connect("direct", &direct).await?);
        }
        sides.push(Side::connect("via Berth", &self.sides.via()).await?);
        for side in &mut sides {
            self.warm_up(side).await?;
        }
        for _ in 0..self.rounds {
            for side in &mut sides {
                let (client, key) = (&side.client, &self.key);
                self.pace(self.seconds)
                    .run(&mut side.sample, || client.config_get(key))
                    .await?;
            }
        }
        let report = report(&sides);
        for side in &sides {
            side.client.close().await.ok();
        }
        report.write(self.sides.json.as_deref())
    }

    fn pace(&self, seconds: f64) -> Pace {
        Pace {
            rate: self.rate,
            duration: Duration::from_secs_f64(seconds.max(0.0)),
        }
    }

    /// The first call may start a driver; the next ones warm its JVM up.
    async fn warm_up(&self, side: &Side) -> anyhow::Result<()> {
        side.client.config_get(&self.key).await?;
        let mut thrown_away = Sample::new()?;
        self.pace(self.seconds / 2.0)
            .run(&mut thrown_away, || side.client.config_get(&self.key))
            .await
    }
}

fn report(sides: &[Side]) -> Report {
    let mut report = Report::new("latency", &SAMPLE_COLUMNS);
    for side in sides {
        report.sample(side.name, &side.sample);
    }
    if let [direct, via] = sides {
        let added =
            |share| via.sample.quantile(share).as_secs_f64() - direct.sample.quantile(share).as_secs_f64();
        let show = |seconds: f64| {
            let sign = if seconds < 0.0 { "-" } else { "" };
            format!("{sign}{}", millis(Duration::from_secs_f64(seconds.abs())))
        };
        report.note(format!(
            "Config.get: Berth adds {} ms at p50 and {} ms at p99 (differences of quantiles)",
            show(added(0.5)),
            show(added(0.99)),
        ));
    }
    report
}
