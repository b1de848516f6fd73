//! Batches: applications that Spark's own spark-submit runs, one for each session of their own.
//!
//! What a batch is and how it ended is in the directory, where any broker finds it. [`desk`] does what the calls ask
//! for, [`follow`] takes a batch to its end. Which of the brokers follow a batch does not matter: each step is
//! decided from what is written down, and written down if nobody else has.

pub mod backend;
pub mod desk;
mod follow;
mod handlers;
pub mod lines;
pub mod origin;
pub mod request;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use berth_core::batch::{OnNodeLoss, Run};
use berth_proto::agent::Statement as Reported;
use berth_proto::agent::statement::State as Reporting;
use berth_runtime::clock::unix_millis;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::resource::Upload;
use desk::Batches;
use origin::Origin;

/// What lines of a log begin with that the application did not write.
pub const SAID_BY_BERTH: &str = "berth: ";
/// Longest reason that is kept.
const MAX_REASON: usize = 1000;

/// The application of a batch, with all that is known of its runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    /// When the run was begun, in Unix milliseconds; 0 before.
    #[serde(default)]
    pub began_at: u64,
    /// The driver that has the run; empty before.
    #[serde(default)]
    pub driver: String,
    /// True once a client has asked for its end and wants to read of it afterwards.
    #[serde(default)]
    pub cancelled: bool,
    /// Files that came with it.
    #[serde(default, skip_serializing_if = "Uploads::is_empty")]
    pub uploads: Uploads,
    /// What is told of it over Kyuubi's API, if it came over that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Box<Origin>>,
}

/// Files that a submission brought with it, by what they are for. They are found where its run is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Uploads {
    /// What is run, instead of the file that is named.
    pub file: Option<Upload>,
    /// Those that lists of its confs have, by the name of the conf.
    pub lists: BTreeMap<String, Vec<Upload>>,
}

impl Uploads {
    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.file.is_none() && self.lists.is_empty()
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Upload> {
        self.file.iter().chain(self.lists.values().flatten())
    }
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

fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// How a batch ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// Livy's state.
    pub state: Last,
    /// The last lines of its log, and why it is over. They outlive the node.
    pub log: Vec<String>,
    /// When it was noticed, in Unix milliseconds; 0 where an earlier release wrote it down.
    #[serde(default)]
    pub at: u64,
    /// The line that the first of `log` is to those who have read so far; 0 if no line was lost. A batch that is lost
    /// with its node takes its log along, and those who were reading it are to hear why.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub first: usize,
    /// The log from its start, where it was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub whole: Option<String>,
}

impl End {
    /// An end with a reason, after the lines that are known.
    pub fn because(state: Last, mut log: Vec<String>, reason: &str) -> Self {
        let reason: String = reason.chars().take(MAX_REASON).collect();
        log.push(format!("{SAID_BY_BERTH}{reason}"));
        Self {
            state,
            log,
            at: unix_millis(),
            first: 0,
            whole: None,
        }
    }

    /// The lines of `log` for a client who asks for line `from` and what follows it.
    pub fn last_lines(&self, from: usize) -> &[String] {
        let skipped = if from >= self.first {
            from - self.first
        } else {
            from
        };
        self.log.get(skipped..).unwrap_or_default()
    }

    /// Leaves only the reason of a log that is kept whole: entries are read by the hundred.
    fn slim(&mut self) {
        if self.whole.is_some() {
            let last = self.log.pop();
            self.log = last
                .into_iter()
                .filter(|line| line.starts_with(SAID_BY_BERTH))
                .collect();
        }
    }

    /// The end that the agent reports; `None` while the application runs.
    pub fn of(reported: &Reported) -> Option<Self> {
        let log = log_of(&reported.output_json);
        Some(match reported.state() {
            Reporting::Unspecified | Reporting::Waiting | Reporting::Running => return None,
            Reporting::Ok => Self {
                state: Last::Success,
                log,
                at: unix_millis(),
                first: 0,
                whole: None,
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
    /// What the store's blobs have of it.
    pub fn blobs(&self) -> impl Iterator<Item = &String> {
        let whole = self.end.iter().filter_map(|end| end.whole.as_ref());
        self.uploads.all().flat_map(|upload| &upload.chunks).chain(whole)
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reader_of_a_log_that_is_lost_hears_why_once() {
        // kyuubi#58
        let mut end = End::because(Last::Dead, vec!["kept".to_owned()], "lost");
        let lines = |end: &End, from: usize| end.last_lines(from).len();
        // None was lost.
        assert_eq!([0, 1, 2, 500].map(|from| lines(&end, from)), [2, 1, 0, 0]);
        // A client has read 500 lines that are gone.
        end.first = 500;
        assert_eq!([500, 501, 502, 503].map(|from| lines(&end, from)), [2, 1, 0, 0]);
        // One that begins now has only what is left.
        assert_eq!([0, 1, 2].map(|from| lines(&end, from)), [2, 1, 0]);
    }
}
