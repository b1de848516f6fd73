//! The admin pages that every process has: metrics and health.

use axum::Router;
use axum::routing::get;

use crate::telemetry::Recorder;

/// `/metrics` for Prometheus; `/healthz` and `/readyz`, which answer once the process serves.
pub fn routes(recorder: Recorder) -> Router {
    Router::new()
        .route("/metrics", get(move || async move { recorder.render() }))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(|| async { "ready\n" }))
}
