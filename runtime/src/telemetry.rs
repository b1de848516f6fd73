//! Logs and metrics of a process.

use std::time::Duration;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

use crate::tasks::Tasks;

/// Bounds of histograms in seconds: from a proxied call to a cold start.
const SECONDS: &[f64] = &[
    0.000_25, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
];
/// Histograms keep every sample until they are drained.
const UPKEEP: Duration = Duration::from_secs(5);

/// Why telemetry cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is not one.
    #[error(
        "the log filter {filter:?} is not one: {reason}; write it like 'info' or 'berth_broker=debug,info'"
    )]
    Filter {
        /// What was given.
        filter: String,
        /// What is wrong with it.
        reason: String,
    },
    /// It is set up already, or the recorder refuses the buckets.
    #[error("telemetry cannot be set up: {0}")]
    Setup(String),
}

/// What is recorded, as Prometheus reads it.
#[derive(Clone)]
pub struct Recorder(PrometheusHandle);

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Recorder")
    }
}

impl Recorder {
    /// The metrics in the text format.
    pub fn render(&self) -> String {
        self.0.render()
    }

    /// Drains histograms until the tasks drain. Without it they grow without bound.
    pub fn keep_up(&self, tasks: &Tasks) {
        let handle = self.0.clone();
        let draining = tasks.shutdown().clone();
        tasks.spawn("metrics upkeep", async move {
            let mut ticks = tokio::time::interval(UPKEEP);
            loop {
                tokio::select! {
                    _ = ticks.tick() => handle.run_upkeep(),
                    () = draining.draining() => return,
                }
            }
        });
    }
}

/// Logs what `filter` lets through to standard error, and starts recording metrics. Once a process.
///
/// # Errors
/// [`TelemetryError`].
pub fn init(filter: &str) -> Result<Recorder, TelemetryError> {
    let parsed = EnvFilter::try_new(filter).map_err(|error| TelemetryError::Filter {
        filter: filter.to_owned(),
        reason: error.to_string(),
    })?;
    let setup = |error: String| TelemetryError::Setup(error);
    tracing_subscriber::fmt()
        .with_env_filter(parsed)
        .with_writer(std::io::stderr)
        .try_init()
        .map_err(|error| setup(error.to_string()))?;
    let builder = PrometheusBuilder::new()
        .set_buckets(SECONDS)
        .map_err(|error| setup(error.to_string()))?;
    builder
        .install_recorder()
        .map(Recorder)
        .map_err(|error| setup(error.to_string()))
}
