//! The admin pages that every process has: metrics and health.

use std::fmt::Write as _;
use std::sync::{Arc, PoisonError, RwLock};

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;

use crate::telemetry::Recorder;

/// Says why a part cannot serve now; `None` when it can.
pub type Probe = Arc<dyn Fn() -> Option<&'static str> + Send + Sync>;

/// Whether the parts of a process can serve. Clones share the parts.
#[derive(Clone, Default)]
pub struct Readiness(Arc<RwLock<Vec<(&'static str, Probe)>>>);

impl std::fmt::Debug for Readiness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Readiness").field(&self.faults()).finish()
    }
}

impl Readiness {
    /// Adds a part under its name.
    pub fn add(&self, name: &'static str, probe: Probe) {
        self.0
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .push((name, probe));
    }

    /// The parts that cannot serve, with the reason.
    pub fn faults(&self) -> Vec<(&'static str, &'static str)> {
        let parts = self.0.read().unwrap_or_else(PoisonError::into_inner);
        parts
            .iter()
            .filter_map(|(name, probe)| Some((*name, probe()?)))
            .collect()
    }

    fn answer(&self) -> Response {
        let faults = self.faults();
        if faults.is_empty() {
            return "ready\n".into_response();
        }
        let mut text = String::new();
        for (name, why) in faults {
            // Writing to a string has no way to fail.
            let _infallible = writeln!(text, "{name}: {why}");
        }
        (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
    }
}

/// `/metrics` for Prometheus; `/healthz`, which answers while the process runs; `/readyz`, which answers 503 with
/// the reason while the process should get no new clients.
pub fn routes(recorder: Recorder, readiness: Readiness) -> Router {
    Router::new()
        .route("/metrics", get(move || async move { recorder.render() }))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(move || async move { readiness.answer() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_part_that_cannot_serve_makes_the_process_unready() {
        let readiness = Readiness::default();
        readiness.add("broker", Arc::new(|| None));
        assert_eq!(readiness.answer().status(), StatusCode::OK);
        readiness.add("agent", Arc::new(|| Some("the node is draining")));
        assert_eq!(readiness.faults(), [("agent", "the node is draining")]);
        assert_eq!(readiness.answer().status(), StatusCode::SERVICE_UNAVAILABLE);
    }
}
