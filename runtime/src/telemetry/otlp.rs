//! Sends traces over OTLP.
//!
//! The exporter's thread waits for the network inside; on the runtime that it reports about, it could wait for
//! itself. So it has a runtime of one thread of its own.

use std::time::Duration;

use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::runtime::Runtime;

use super::TelemetryError;

/// A collector that is slower than this loses the batch.
const EXPORT_DEADLINE: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Exporter {
    provider: SdkTracerProvider,
    /// `None` once it is being dropped.
    runtime: Option<Runtime>,
}

impl Exporter {
    pub(super) fn start(endpoint: &str, service: &'static str) -> Result<Self, TelemetryError> {
        let refused = |reason: String| TelemetryError::Otlp {
            endpoint: endpoint.to_owned(),
            reason,
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("berth-otlp")
            .enable_all()
            .build()
            .map_err(|error| refused(error.to_string()))?;
        let entered = runtime.enter();
        let exporter = SpanExporter::builder()
            .with_tonic()
            .with_endpoint(endpoint)
            .with_timeout(EXPORT_DEADLINE)
            .build()
            .map_err(|error| refused(error.to_string()))?;
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(Resource::builder().with_service_name(service).build())
            .build();
        drop(entered);
        Ok(Self {
            provider,
            runtime: Some(runtime),
        })
    }

    pub(super) fn provider(&self) -> &SdkTracerProvider {
        &self.provider
    }

    /// Sends what is left. Blocks for at most about `patience`.
    pub(super) fn shutdown(self, patience: Duration) {
        if let Err(error) = self.provider.shutdown_with_timeout(patience) {
            tracing::warn!(%error, "the last traces were not sent");
        }
    }
}

impl Drop for Exporter {
    /// A runtime that is dropped inside another one panics if it has to wait for its threads.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
