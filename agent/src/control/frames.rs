//! What the agent and a driver host say to each other; the reference is docs/reference/agent-protocol.md.

use berth_runtime::clock::unix_millis;
use serde::{Deserialize, Serialize};

/// The protocol's version; a host says it in its hello.
pub(crate) const PROTOCOL: u32 = 1;

/// What a host says.
#[derive(Debug, Deserialize)]
#[serde(tag = "t", rename_all = "snake_case")]
pub(crate) enum FromHost {
    Hello {
        v: u32,
        driver: String,
        secret: String,
    },
    Phase {
        phase: String,
    },
    Ready {
        port: u16,
        jvm_pid: u32,
        spark_version: String,
        #[serde(default)]
        app_id: String,
        #[serde(default)]
        ui_url: String,
    },
    Beat {
        /// True while streaming queries run.
        #[serde(default)]
        busy: bool,
    },
    /// A statement is next; it waits for `go`.
    Begin {
        id: String,
    },
    Progress(Progress),
    Result(Box<Finished>),
    Answer(Answer),
}

/// How far a statement is. With `started_at` it has just begun to run.
#[derive(Debug, Deserialize)]
pub(crate) struct Progress {
    pub(crate) id: String,
    pub(crate) progress: f64,
    #[serde(default)]
    pub(crate) started_at: Option<i64>,
}

/// How a statement ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Finished {
    pub(crate) id: String,
    pub(crate) state: Ending,
    /// The MIME bundle.
    #[serde(default)]
    pub(crate) output: Option<serde_json::Value>,
    #[serde(default)]
    pub(crate) error_name: String,
    #[serde(default)]
    pub(crate) error_value: String,
    #[serde(default)]
    pub(crate) traceback: Vec<String>,
    #[serde(default)]
    pub(crate) effects: Vec<String>,
    #[serde(default)]
    pub(crate) snapshot: Option<Snapshot>,
    #[serde(default)]
    pub(crate) started_at: i64,
    #[serde(default)]
    pub(crate) finished_at: i64,
}

/// What a statement that is not to run again made of variables.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Snapshot {
    /// A pickle that only hosts of the same session read.
    #[serde(default)]
    pub(crate) data: String,
    #[serde(default)]
    pub(crate) names: Vec<String>,
    #[serde(default)]
    pub(crate) lost: Vec<String>,
}

/// The three ends of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Ending {
    Ok,
    Error,
    Cancelled,
}

/// The answer to a call.
#[derive(Debug, Deserialize)]
pub(crate) struct Answer {
    pub(crate) call: u64,
    #[serde(default)]
    pub(crate) candidates: Vec<String>,
    #[serde(default)]
    pub(crate) error: Option<String>,
}

/// What a host is told.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "t", rename_all = "snake_case")]
pub(crate) enum ToHost {
    /// The driver may run until this instant of the boot clock.
    Fence {
        deadline_boot_ms: u64,
    },
    /// Run a statement, unless it was given before; tell its result if it has one.
    Run {
        id: String,
        kind: String,
        code: String,
    },
    /// Begin to run a statement that is next.
    Go {
        id: String,
    },
    /// A result is safe with the agent.
    Kept {
        id: String,
    },
    Cancel {
        id: String,
    },
    Complete {
        call: u64,
        kind: String,
        code: String,
        cursor: u32,
    },
    /// End a session of the Connect service.
    Release {
        call: u64,
        session: String,
    },
}

/// Reads a frame. A result that cannot be read is an error of its statement: told again, it would be no better.
pub(crate) fn parse(frame: &[u8]) -> std::io::Result<FromHost> {
    let read = serde_json::from_slice(frame);
    Ok(read.or_else(|error| unreadable(frame, &error).ok_or(error))?)
}

/// As much of a result as names its statement.
#[derive(Debug, Deserialize)]
struct Named {
    t: String,
    id: String,
}

fn unreadable(frame: &[u8], error: &serde_json::Error) -> Option<FromHost> {
    let named: Named = serde_json::from_slice(frame).ok()?;
    (named.t == "result").then(|| {
        FromHost::Result(Box::new(Finished {
            id: named.id,
            state: Ending::Error,
            output: None,
            error_name: "ResultUnreadable".to_owned(),
            error_value: format!("the statement ran, and its result cannot be shown: {error}"),
            traceback: Vec::new(),
            // It must not run again, since nobody can tell what it did.
            effects: vec!["unknown (unreadable result)".to_owned()],
            snapshot: None,
            started_at: 0,
            finished_at: i64::try_from(unix_millis()).unwrap_or(i64::MAX),
        }))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_a_host_are_read() {
        let hello = parse(br#"{"t":"hello","v":1,"driver":"d","secret":"s","later":true}"#).unwrap();
        assert!(matches!(hello, FromHost::Hello { v: PROTOCOL, .. }));
        let beat = parse(br#"{"t":"beat"}"#).unwrap();
        assert!(matches!(beat, FromHost::Beat { busy: false }));
        let busy = parse(br#"{"t":"beat","busy":true}"#).unwrap();
        assert!(matches!(busy, FromHost::Beat { busy: true }));
        let result = parse(br#"{"t":"result","id":"7","state":"cancelled","finished_at":5}"#).unwrap();
        let FromHost::Result(result) = result else {
            panic!("{result:?}")
        };
        assert_eq!(
            (result.id.as_str(), result.state, result.finished_at),
            ("7", Ending::Cancelled, 5)
        );
        assert!(parse(br#"{"t":"sing","id":"7"}"#).is_err());
        assert!(parse(b"\xff").is_err());
    }

    #[test]
    fn i8_a_result_that_cannot_be_read_is_an_end_all_the_same() {
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        for output in [r#""a\ud83d""#, deep.as_str(), "1e999"] {
            let frame = format!(r#"{{"t":"result","id":"7","state":"ok","output":{{"x":{output}}}}}"#);
            let FromHost::Result(result) = parse(frame.as_bytes()).unwrap() else {
                panic!("{frame}")
            };
            assert_eq!(
                (result.id.as_str(), result.state),
                ("7", Ending::Error),
                "{frame}"
            );
            assert!(!result.effects.is_empty(), "it is not run again");
        }
        assert!(parse(br#"{"t":"phase","id":"7","phase":"\ud83d"}"#).is_err());
    }

    #[test]
    fn frames_to_a_host_have_the_names_that_it_knows() {
        let said = |frame: &ToHost| serde_json::to_string(frame).unwrap();
        assert_eq!(
            said(&ToHost::Fence { deadline_boot_ms: 9 }),
            r#"{"t":"fence","deadline_boot_ms":9}"#
        );
        assert_eq!(said(&ToHost::Kept { id: "1".into() }), r#"{"t":"kept","id":"1"}"#);
    }
}
