//! Batches: applications that Spark's own spark-submit runs, one for each session of their own.
//!
//! What a batch is and how it ended is in the directory, where any broker finds it. [`desk`] does what the calls ask
//! for, [`follow`] takes a batch to its end. Which of the brokers follow a batch does not matter: each step is
//! decided from what is written down, and written down if nobody else has.

pub mod backend;
pub mod desk;
mod follow;
mod handlers;
pub mod request;

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use berth_core::batch::{OnNodeLoss, Run};
use berth_proto::agent::Statement as Reported;
use berth_proto::agent::statement::State as Reporting;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use desk::Batches;

/// Longest reason that is kept.
const MAX_REASON: usize = 1000;

/// The application of a batch, with all that is known of its runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// A jar or a Python file.
    pub file: String,
    /// The main class of a jar.
    pub class_name: Option<String>,
    /// What the application is given.
    pub args: Vec<String>,
    /// What is done when its place is lost.
    #[serde(default)]
    pub on_node_loss: OnNodeLoss,
    /// The run that was begun last.
    #[serde(default)]
    pub run: Option<Run>,
    /// How it ended, once it has.
    #[serde(default)]
    pub end: Option<End>,
}

/// Livy's last states of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Last {
    /// It did what it was to do.
    Success,
    /// It failed, or its place was lost.
    Dead,
    /// Somebody has ended it.
    Killed,
}

/// What the runner tells beside a state.
#[derive(Debug, Deserialize)]
struct Output {
    log: Vec<String>,
}

/// How a batch ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// Livy's state.
    pub state: Last,
    /// The last lines of its log, and why it is over. They outlive the node.
    pub log: Vec<String>,
}

impl End {
    /// An end with a reason, after the lines that are known.
    pub fn because(state: Last, mut log: Vec<String>, reason: &str) -> Self {
        let reason: String = reason.chars().take(MAX_REASON).collect();
        log.push(format!("berth: {reason}"));
        Self { state, log }
    }

    /// The end that the agent reports; `None` while the application runs.
    pub fn of(reported: &Reported) -> Option<Self> {
        let log = log_of(&reported.output_json);
        Some(match reported.state() {
            Reporting::Unspecified | Reporting::Waiting | Reporting::Running => return None,
            Reporting::Ok => Self {
                state: Last::Success,
                log,
            },
            Reporting::Cancelled => Self::because(Last::Killed, log, "the batch was cancelled"),
            Reporting::Error if reported.error_name == "Killed" => {
                Self::because(Last::Killed, log, &reported.error_value)
            }
            Reporting::Error => Self::because(Last::Dead, log, &reported.error_value),
        })
    }
}

fn log_of(output_json: &str) -> Vec<String> {
    let output: Option<Output> = serde_json::from_str(output_json).ok();
    output.map(|output| output.log).unwrap_or_default()
}

impl Batch {
    /// Livy's word for how it is. A recovery is no state of its own: Airflow fails on `recovering`.
    pub fn state(&self) -> &'static str {
        match (&self.end, self.run) {
            (None, None) => "starting",
            (None, Some(_)) => "running",
            (Some(end), _) => match end.state {
                Last::Success => "success",
                Last::Dead => "dead",
                Last::Killed => "killed",
            },
        }
    }
}

/// The calls of `/batches`.
pub(super) fn router(batches: Arc<Batches>) -> Router {
    let all = get(handlers::list).post(handlers::create);
    Router::new()
        .route("/batches", all.clone())
        .route("/batches/", all)
        .route("/batches/{id}", get(handlers::show).delete(handlers::delete))
        .route("/batches/{id}/state", get(handlers::state))
        .route("/batches/{id}/log", get(handlers::log))
        .with_state(batches)
}

/// Livy's batch object: exactly these keys.
fn shown(listed: &super::listed::Listed, batch: &Batch, log: &[String]) -> Value {
    let owner = (!listed.owner.is_empty()).then_some(&listed.owner);
    json!({
        "id": listed.number,
        "name": listed.request.name,
        "owner": owner,
        "proxyUser": listed.proxy_user,
        "state": batch.state(),
        "appId": null,
        "appInfo": { "driverLogUrl": null, "sparkUiUrl": null, "executorLogUrls": null },
        "log": &log[log.len().saturating_sub(super::view::LOG_LINES)..],
    })
}
