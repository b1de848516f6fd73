//! Statements: as the agent tells of them, as lineage keeps them, and as Livy shows them.

use std::borrow::Cow;

use berth_core::ids::Epoch;
use berth_core::lineage::Class;
use berth_core::sql;
use berth_proto::agent::Statement as Reported;
use berth_proto::agent::statement::State as Reporting;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::kind::Kind;
use super::refusal::Refusal;
use super::resource::Resource;
use super::task::Task;

/// Livy's statement states.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Queued.
    Waiting,
    /// Executing.
    Running,
    /// Asked to stop, and still executing.
    Cancelling,
    /// Finished, well or with an error.
    Available,
    /// Stopped on request.
    Cancelled,
}

/// The intent of a statement: the payload of its lineage entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// Its kind.
    pub kind: Kind,
    /// Its code; JSON for what is no statement.
    pub code: String,
    /// What it is.
    #[serde(default, skip_serializing_if = "Task::is_statement")]
    pub task: Task,
    /// The most rows of a result of SQL, if its session says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u32>,
}

/// Characters of a statement's code that name it to people.
const MAX_WHAT: usize = 80;

impl Intent {
    /// The kind that the agent knows it by.
    pub fn agent_kind(&self) -> &'static str {
        match self.task {
            Task::Statement if self.most_rows().is_some() => "query",
            Task::Statement => self.kind.as_str(),
            Task::Add => "add",
            Task::Job => "job",
        }
    }

    /// The code that the agent is given.
    pub fn agent_code(&self) -> Cow<'_, str> {
        match self.most_rows() {
            Some(rows) => json!({ "sql": self.code, "rows": rows }).to_string().into(),
            None => self.code.as_str().into(),
        }
    }

    fn most_rows(&self) -> Option<u32> {
        self.rows.filter(|_| self.kind == Kind::Sql)
    }

    /// True for what nobody outside the session sees, whether it has begun or not: it may run a second time.
    pub fn may_run_again(&self) -> bool {
        let stays_inside = |class| matches!(class, Class::Read | Class::State);
        self.kind == Kind::Sql && self.task.is_statement() && stays_inside(sql::classify(&self.code).class)
    }

    /// For a person.
    pub fn what(&self) -> String {
        match self.task {
            Task::Statement => self.code.chars().take(MAX_WHAT).collect(),
            Task::Add => Resource::of(self).map_or_else(String::new, |resource| resource.describe()),
            Task::Job => "a job".to_owned(),
        }
    }
}

/// The error of a statement that no driver was given.
const NOT_RUN: &str = "NotRun";
/// The error of a statement that ran, and whose answer is gone.
const ANSWER_LOST: &str = "AnswerLost";

/// The end of a statement: the answer in its lineage entry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct End {
    /// `Available` or `Cancelled`.
    pub state: State,
    /// Livy's output object without `execution_count`; null if there is none.
    pub output: Value,
    /// Outside effects that were seen.
    pub effects: Vec<String>,
    /// False when the driver was lost while it ran: nobody knows what became of it.
    pub known: bool,
    /// What it made of variables, if it is not to run again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<Snapshot>,
    /// Unix milliseconds, 0 if unknown.
    pub started: i64,
    /// Unix milliseconds, 0 if unknown.
    pub completed: i64,
}

/// Variables as a statement left them, for the next driver of the session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Opaque to all but drivers; empty if nothing could be kept.
    pub data: String,
    /// The variables in it.
    pub names: Vec<String>,
    /// Variables that it assigned and that could not be kept.
    pub lost: Vec<String>,
}

impl Snapshot {
    /// What is longer is given up: a driver would not take it back.
    const MAX_BYTES: usize = 1 << 20;

    fn of(reported: &Reported) -> Option<Self> {
        let snapshot = reported.snapshot.as_ref()?;
        let fits = snapshot.data.len() <= Self::MAX_BYTES;
        let (kept, lost) = if fits {
            (snapshot.names.clone(), snapshot.lost.clone())
        } else {
            (Vec::new(), [&snapshot.names[..], &snapshot.lost[..]].concat())
        };
        let data = if fits {
            snapshot.data.clone()
        } else {
            String::new()
        };
        Some(Self {
            data,
            names: kept,
            lost,
        })
    }
}

/// A statement of a session.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    /// Its place in the session's lineage, from 0.
    pub id: u64,
    /// Livy's id among those of its task: rising, never reused.
    pub number: u64,
    /// The session's epoch when it was asked for.
    pub epoch: Epoch,
    /// What to run.
    pub intent: Intent,
    /// True while it was given to no driver and waits for one.
    pub waits: bool,
    /// How it ended, once it has.
    pub end: Option<End>,
}

impl End {
    /// The end that the agent reports; `None` while the statement has not ended.
    pub fn of(reported: &Reported) -> Option<Self> {
        let (state, output) = match reported.state() {
            Reporting::Unspecified | Reporting::Waiting | Reporting::Running => return None,
            Reporting::Ok => (
                State::Available,
                json!({ "status": "ok", "data": data(&reported.output_json) }),
            ),
            Reporting::Error => (State::Available, error_output(reported)),
            Reporting::Cancelled => (State::Cancelled, Value::Null),
        };
        Some(Self {
            state,
            output,
            effects: reported.effects.clone(),
            known: true,
            snapshot: Snapshot::of(reported),
            started: reported.started_at_unix_ms,
            completed: reported.finished_at_unix_ms,
        })
    }

    /// The end of a statement whose driver was lost while it may have run.
    pub fn unknown(at: i64) -> Self {
        let text = "the driver was lost while this statement ran; it may or may not have taken effect, and Berth \
                    does not run it a second time";
        let output = json!({ "status": "error", "ename": "OutcomeUnknown", "evalue": text, "traceback": [] });
        Self {
            state: State::Available,
            output,
            effects: Vec::new(),
            known: false,
            snapshot: None,
            started: 0,
            completed: at,
        }
    }

    /// The end of a statement that was stopped before it was given to a driver.
    pub fn cancelled(at: i64) -> Self {
        Self {
            state: State::Cancelled,
            output: Value::Null,
            effects: Vec::new(),
            known: true,
            snapshot: None,
            started: 0,
            completed: at,
        }
    }

    /// The end of a statement that could not be given to a driver at all. No driver may be given it later.
    pub fn refused(reason: &str, at: i64) -> Self {
        let output = json!({ "status": "error", "ename": NOT_RUN, "evalue": reason, "traceback": [] });
        Self {
            state: State::Available,
            output,
            effects: Vec::new(),
            known: true,
            snapshot: None,
            started: 0,
            completed: at,
        }
    }

    /// The end of a statement that ran, and of which no more than that was kept: what it did outside is not known.
    pub fn unread(reason: &str) -> Self {
        let text = format!("the statement ran, but its answer is lost: {reason}");
        let output = json!({ "status": "error", "ename": ANSWER_LOST, "evalue": text, "traceback": [] });
        Self {
            output,
            ..Self::unknown(0)
        }
    }

    /// True if its client was told that it did not run. Code that fails by this name has a start.
    pub fn is_not_run(&self) -> bool {
        self.known && self.started == 0 && self.output["ename"] == NOT_RUN
    }
}

/// The MIME map; what is no object is shown as text rather than lost.
fn data(output_json: &str) -> Value {
    match serde_json::from_str(output_json) {
        Ok(Value::Object(map)) => Value::Object(map),
        _ => json!({ "text/plain": output_json }),
    }
}

fn error_output(reported: &Reported) -> Value {
    json!({
        "status": "error",
        "ename": reported.error_name,
        "evalue": reported.error_value,
        "traceback": reported.traceback,
    })
}

impl State {
    fn unfinished(live: &Reported) -> Self {
        match live.state() {
            Reporting::Unspecified | Reporting::Waiting => Self::Waiting,
            Reporting::Cancelled => Self::Cancelling,
            Reporting::Running | Reporting::Ok | Reporting::Error if live.cancelling => Self::Cancelling,
            // It is shown with its end once that is written down.
            Reporting::Running | Reporting::Ok | Reporting::Error => Self::Running,
        }
    }
}

impl Statement {
    /// The statement, if this is what was asked for again.
    ///
    /// # Errors
    /// [`Refusal::KeyReused`].
    pub fn unless_other(self, intent: &Intent) -> Result<Self, Refusal> {
        if self.intent == *intent {
            Ok(self)
        } else {
            Err(Refusal::KeyReused)
        }
    }

    /// What it is called in a session's history.
    pub fn label(&self) -> String {
        match self.intent.task {
            Task::Statement => format!("statement {}", self.number),
            Task::Job => format!("job {}", self.number),
            Task::Add => self.intent.what(),
        }
    }

    /// Livy's statement object. `live` is what the agent says of one that has not ended.
    pub fn show(&self, live: Option<&Reported>) -> Value {
        let Some(end) = &self.end else {
            let state = live.map_or(State::Waiting, State::unfinished);
            let progress = live.map_or(0.0, |live| live.progress.clamp(0.0, 1.0));
            let started = live.map_or(0, |live| live.started_at_unix_ms);
            return self.object(state, Value::Null, progress, started, 0);
        };
        let mut output = end.output.clone();
        if let Value::Object(map) = &mut output {
            map.insert("execution_count".to_owned(), self.number.into());
        }
        self.object(end.state, output, 1.0, end.started, end.completed)
    }

    fn object(&self, state: State, output: Value, progress: f64, started: i64, completed: i64) -> Value {
        json!({
            "id": self.number,
            "code": self.intent.code,
            "state": state,
            "output": output,
            "progress": progress,
            "started": started,
            "completed": completed,
        })
    }
}

#[cfg(test)]
mod tests;
