//! Jobs: pickled functions and Java objects that a driver calls with the session's job context.

use berth_proto::agent::Statement as Reported;
use berth_proto::agent::statement::State as Reporting;
use serde::Deserialize;
use serde_json::{Value, json};

use super::kind::Kind;
use super::refusal::Refusal;
use super::statement::{End, Intent, State, Statement};
use super::task::Task;

/// The key of a job's result in what its driver puts out.
const RESULT: &str = "application/x-berth-job";
/// What the driver can run.
const TYPES: [&str; 2] = ["pyspark", "spark"];

/// The body of `submit-job` and `run-job`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct NewJob {
    /// Base64 of the job.
    pub job: Option<String>,
    /// "pyspark" or "spark".
    pub job_type: Option<String>,
}

impl NewJob {
    /// The intent to run it.
    ///
    /// # Errors
    /// [`Refusal::Malformed`] without a job, or with one that nobody here can run.
    pub fn intent(&self) -> Result<Intent, Refusal> {
        let job = self.job.as_deref().unwrap_or_default();
        if job.is_empty() {
            return Err(Refusal::Malformed(
                "requirement failed: no job provided.".to_owned(),
            ));
        }
        let kind = self.job_type.as_deref().unwrap_or("spark");
        if !TYPES.contains(&kind) {
            return Err(Refusal::Malformed(format!(
                "jobs of type {kind:.32} are not served: send jobType {}",
                TYPES.join(" or ")
            )));
        }
        Ok(Intent {
            kind: Kind::Pyspark,
            code: json!({ "type": kind, "job": job }).to_string(),
            task: Task::Job,
            rows: None,
        })
    }
}

/// Livy's JobStatus: exactly these keys. `live` is what the driver says of one that has not ended.
pub fn show(job: &Statement, live: Option<&Reported>) -> Value {
    let (state, result, error) = match &job.end {
        None => (live.map_or("SENT", running), Value::Null, Value::Null),
        Some(end) => ended(end),
    };
    json!({ "id": job.number, "state": state, "result": result, "error": error })
}

fn running(live: &Reported) -> &'static str {
    match live.state() {
        Reporting::Unspecified | Reporting::Waiting => "QUEUED",
        Reporting::Running | Reporting::Ok | Reporting::Error | Reporting::Cancelled => "STARTED",
    }
}

fn ended(end: &End) -> (&'static str, Value, Value) {
    if end.state == State::Cancelled {
        return ("CANCELLED", Value::Null, Value::Null);
    }
    if end.output["status"] == "ok" {
        return ("SUCCEEDED", end.output["data"][RESULT].clone(), Value::Null);
    }
    ("FAILED", Value::Null, error_of(&end.output).into())
}

/// The stack trace, or what there is instead.
fn error_of(output: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let lines = output["traceback"].as_array().into_iter().flatten().map(text);
    let trace: String = lines.collect();
    if trace.is_empty() {
        format!("{}: {}", text(&output["ename"]), text(&output["evalue"]))
    } else {
        trace
    }
}

#[cfg(test)]
mod tests {
    use berth_core::ids::Epoch;

    use super::*;

    fn job(end: Option<End>) -> Statement {
        let asked = NewJob {
            job: Some("eA==".to_owned()),
            job_type: Some("pyspark".to_owned()),
        };
        Statement {
            id: 7,
            number: 1,
            epoch: Epoch::INITIAL,
            intent: asked.intent().unwrap(),
            waits: false,
            end,
        }
    }

    fn reported(state: Reporting) -> Reported {
        Reported {
            state: state.into(),
            ..Reported::default()
        }
    }

    #[test]
    fn a_job_goes_through_livys_states() {
        // livy#83, #84, #85
        let shown = show(&job(None), None);
        assert_eq!(
            shown,
            json!({ "id": 1, "state": "SENT", "result": null, "error": null })
        );
        let live = |state| show(&job(None), Some(&reported(state)))["state"].clone();
        assert_eq!(
            (live(Reporting::Waiting), live(Reporting::Running)),
            ("QUEUED".into(), "STARTED".into())
        );
        let done = Reported {
            output_json: format!(r#"{{"{RESULT}":"WA=="}}"#),
            ..reported(Reporting::Ok)
        };
        let shown = show(&job(End::of(&done)), None);
        assert_eq!(
            (&shown["state"], &shown["result"]),
            (&"SUCCEEDED".into(), &"WA==".into())
        );
        let nothing = Reported {
            output_json: format!(r#"{{"{RESULT}":null}}"#),
            ..reported(Reporting::Ok)
        };
        assert_eq!(show(&job(End::of(&nothing)), None)["result"], Value::Null);
        let failed = Reported {
            error_name: "ValueError".to_owned(),
            error_value: "no".to_owned(),
            ..reported(Reporting::Error)
        };
        let shown = show(&job(End::of(&failed)), None);
        assert_eq!(
            (&shown["state"], &shown["error"]),
            (&"FAILED".into(), &"ValueError: no".into())
        );
        let cancelled = show(&job(End::of(&reported(Reporting::Cancelled))), None);
        assert_eq!(cancelled["state"], "CANCELLED");
        let lost = show(&job(Some(End::unknown(0))), None);
        assert_eq!(lost["state"], "FAILED");
        assert!(
            lost["error"].as_str().unwrap().contains("may or may not"),
            "{lost}"
        );
    }

    #[test]
    fn what_is_no_job_is_refused() {
        // livy#86
        let bare = NewJob::default().intent().unwrap_err().to_string();
        assert_eq!(bare, "requirement failed: no job provided.");
        let strange = NewJob {
            job: Some("eA==".to_owned()),
            job_type: Some("cobol".to_owned()),
        };
        assert!(strange.intent().is_err());
    }
}
