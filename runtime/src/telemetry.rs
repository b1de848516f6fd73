//! Logs, traces and metrics of a process, set up once in `main`.

mod otlp;
mod recorder;
pub mod trace;

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use serde::{Deserialize, Serialize};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use otlp::Exporter;
pub use recorder::Recorder;

/// A log file larger than this is put aside when a process starts.
const MAX_LOG_BYTES: u64 = 64 << 20;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// What a process tells, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct TelemetryConfig {
    /// How log lines look: "text" or "json".
    pub log_format: LogFormat,
    /// What is logged: a level, or levels by module as in "info,berth_broker=debug".
    pub log_level: String,
    /// Where logs go; standard error if absent.
    pub log_file: Option<PathBuf>,
    /// OTLP endpoint (gRPC) that gets traces, such as "http://127.0.0.1:4317"; no traces if absent.
    pub otlp_endpoint: Option<String>,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self {
            log_format: LogFormat::default(),
            log_level: "info".to_owned(),
            log_file: None,
            otlp_endpoint: None,
        }
    }
}

/// Why telemetry could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The log level is not one.
    #[error("log-level '{level}' is not understood: {source}; write a level such as 'info'")]
    Level {
        /// What was given.
        level: String,
        /// Why it is refused.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// The log file cannot be written.
    #[error("the log file {path} cannot be written: {source}")]
    LogFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The exporter of traces could not be started.
    #[error("traces cannot be sent to {endpoint}: {reason}; check otlp-endpoint")]
    Otlp {
        /// The endpoint.
        endpoint: String,
        /// What the library said.
        reason: String,
    },
    /// Something else took the process's log or metrics before.
    #[error("telemetry is set up already: {0}")]
    Twice(String),
}

/// Telemetry of the process. Call [`Telemetry::shutdown`] last.
#[derive(Debug)]
pub struct Telemetry {
    recorder: Recorder,
    exporter: Option<Exporter>,
}

/// Sets up logs, metrics and, with an endpoint, traces under the service name `service`.
///
/// # Errors
/// [`TelemetryError`]; nothing is set up then, but a second call may fail.
pub fn init(config: &TelemetryConfig, service: &'static str) -> Result<Telemetry, TelemetryError> {
    let filter = EnvFilter::try_new(&config.log_level).map_err(|source| TelemetryError::Level {
        level: config.log_level.clone(),
        source,
    })?;
    let logs = logs(config)?;
    let exporter = config
        .otlp_endpoint
        .as_deref()
        .map(|endpoint| Exporter::start(endpoint, service))
        .transpose()?;
    let traces = exporter.as_ref().map(|exporter| {
        let tracer = exporter.provider().tracer("berth");
        // What is traced does not depend on how much is logged; the exporter's own work is no part of a trace.
        let ours = filter_fn(|metadata| metadata.is_span() && metadata.target().starts_with("berth"));
        tracing_opentelemetry::layer()
            .with_tracer(tracer)
            .with_filter(ours)
    });
    let subscriber = tracing_subscriber::registry()
        .with(logs.with_filter(filter))
        .with(traces);
    subscriber
        .try_init()
        .map_err(|error| TelemetryError::Twice(error.to_string()))?;
    let recorder = Recorder::install().map_err(|error| TelemetryError::Twice(error.to_string()))?;
    Ok(Telemetry { recorder, exporter })
}

impl Telemetry {
    /// The process's metrics.
    pub fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// Sends what is left of the traces, for at most `patience`.
    pub async fn shutdown(self, patience: Duration) {
        let Some(exporter) = self.exporter else { return };
        // The exporter blocks its thread; this one may be the only worker of the runtime.
        let sent = tokio::task::spawn_blocking(move || exporter.shutdown(patience)).await;
        if let Err(error) = sent {
            tracing::warn!(%error, "the last traces were not sent");
        }
    }
}

fn logs(config: &TelemetryConfig) -> Result<Box<dyn Layer<Registry> + Send + Sync>, TelemetryError> {
    use std::io::IsTerminal as _;
    let file = config.log_file.as_deref().map(open).transpose()?;
    let colours = file.is_none() && std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let layer = tracing_subscriber::fmt::layer().with_ansi(colours);
    Ok(match (config.log_format, file) {
        (LogFormat::Text, None) => layer.with_writer(std::io::stderr).boxed(),
        (LogFormat::Text, Some(file)) => layer.with_writer(Arc::new(file)).boxed(),
        (LogFormat::Json, None) => layer.json().with_writer(std::io::stderr).boxed(),
        (LogFormat::Json, Some(file)) => layer.json().with_writer(Arc::new(file)).boxed(),
    })
}

fn open(path: &Path) -> Result<File, TelemetryError> {
    let opened = || {
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        if std::fs::metadata(path).is_ok_and(|file| file.len() > MAX_LOG_BYTES) {
            std::fs::rename(path, path.with_extension("log.old"))?;
        }
        OpenOptions::new().create(true).append(true).open(path)
    };
    opened().map_err(|source| TelemetryError::LogFile {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests;
