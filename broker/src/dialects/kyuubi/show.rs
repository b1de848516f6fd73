//! Sessions and operations as Kyuubi's clients see them.

use std::collections::BTreeMap;
use std::time::Duration;

use berth_core::record::{SessionRecord, SessionState};
use berth_runtime::clock::unix_millis;
use serde_json::{Map, Value, json};

use super::operations::Entry;
use crate::dialects::sql::directory::{Found, Listed};
use crate::dialects::sql::operation::State;

/// What stands for a value that is not shown.
const REDACTED: &str = "*********(redacted)";
/// Words in the keys of such values.
const SECRETS: [&str; 5] = ["secret", "password", "token", "access.key", "accesskey"];
/// The first version of the protocol that knows what ran too long.
const TIMED_OUT_SINCE: i32 = 8;

/// What this broker knows of a session beside its records.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    /// For how long nobody has used it here.
    pub(super) idle: Duration,
    /// How many operations it has had here.
    pub(super) operations: usize,
    /// Why it has no driver, if that was so when it was last tried.
    pub(super) failure: Option<String>,
}

/// `SessionData`.
pub(super) fn session(found: &Found, seen: &Seen) -> Value {
    let listed = &found.listed;
    let idle = u64::try_from(seen.idle.as_millis()).unwrap_or(u64::MAX);
    let now = unix_millis();
    let mut shown = common(found, seen);
    shown.extend(fields(json!({
        "identifier": listed.handle,
        "remoteId": listed.session.to_string(),
        "ipAddr": listed.client_ip,
        "createTime": listed.opened_at,
        "duration": now.saturating_sub(listed.opened_at).saturating_sub(idle),
        "idleTime": idle,
        "exception": seen.failure.as_deref().unwrap_or_default(),
        "kyuubiInstance": listed.instance,
    })));
    Value::Object(shown)
}

/// `KyuubiSessionEvent`.
pub(super) fn session_event(found: &Found, seen: &Seen) -> Value {
    let listed = &found.listed;
    let began = found.record.as_ref().map_or(0, |record| record.created_at);
    let mut shown = common(found, seen);
    shown.extend(fields(json!({
        "sessionId": listed.handle,
        "clientVersion": listed.protocol,
        "remoteSessionId": listed.session.to_string(),
        "clientIp": listed.client_ip,
        "serverIp": server(listed),
        "eventTime": unix_millis(),
        "openedTime": began,
        "startTime": listed.opened_at,
        "endTime": -1,
        "exception": seen.failure.as_deref().map(throwable),
    })));
    Value::Object(shown)
}

fn common(found: &Found, seen: &Seen) -> Map<String, Value> {
    let listed = &found.listed;
    let record = found.record.as_ref();
    let driver = record.and_then(driver).unwrap_or_default();
    let name = record
        .map(|record| format!("berth-{}", record.profile))
        .unwrap_or_default();
    fields(json!({
        "user": listed.user,
        "conf": confs(listed),
        "sessionType": "INTERACTIVE",
        "sessionName": listed.confs.get("kyuubi.session.name").map_or("", String::as_str),
        "engineId": driver,
        "engineName": name,
        "engineUrl": "",
        "totalOperations": seen.operations,
    }))
}

fn fields(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

fn driver(record: &SessionRecord) -> Option<String> {
    match &record.state {
        SessionState::Active { placement, .. } => Some(placement.driver.to_string()),
        SessionState::Placing { .. } | SessionState::Closed { .. } => None,
    }
}

/// The host of the address that the client called.
fn server(listed: &Listed) -> &str {
    let host = listed
        .instance
        .rsplit_once(':')
        .map_or(listed.instance.as_str(), |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']')
}

/// The confs of a session, with what Kyuubi adds. Values of secrets are not shown.
fn confs(listed: &Listed) -> BTreeMap<&str, &str> {
    let given = listed
        .confs
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()));
    let added = [
        ("kyuubi.client.ipAddress", listed.client_ip.as_str()),
        ("kyuubi.server.ipAddress", server(listed)),
        ("kyuubi.session.connection.url", listed.instance.as_str()),
        ("kyuubi.session.real.user", listed.real_user.as_str()),
    ];
    given.chain(added).map(shown).collect()
}

/// Confs without the values of secrets.
pub(super) fn redacted(confs: &BTreeMap<String, String>) -> BTreeMap<&str, &str> {
    let given = confs.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    given.map(shown).collect()
}

fn shown<'a>((key, value): (&'a str, &'a str)) -> (&'a str, &'a str) {
    (key, if is_secret(key) { REDACTED } else { value })
}

fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    SECRETS.iter().any(|word| key.contains(word))
}

/// `OperationData`.
pub(super) fn operation(entry: &Entry) -> Value {
    let state = entry.operation.state();
    let mut shown = about(entry, &state);
    shown.extend(fields(json!({
        "identifier": entry.operation.id,
        "exception": failure(&state).unwrap_or_default(),
    })));
    Value::Object(shown)
}

/// `KyuubiOperationEvent`.
pub(super) fn operation_event(entry: &Entry) -> Value {
    let state = entry.operation.state();
    let exception = failure(&state).as_deref().map(throwable);
    let mut shown = about(entry, &state);
    shown.extend(fields(json!({
        "statementId": entry.operation.id,
        "shouldRunAsync": entry.runs_async,
        "eventTime": unix_millis(),
        "exception": exception,
    })));
    Value::Object(shown)
}

/// An exception as Kyuubi's own clients read it.
fn throwable(message: &str) -> Value {
    json!({
        "message": message,
        "localizedMessage": message,
        "cause": null,
        "stackTrace": [],
        "suppressed": [],
    })
}

fn about(entry: &Entry, state: &State) -> Map<String, Value> {
    let (operation, listed) = (&entry.operation, &entry.listed);
    let (log_fetches, row_fetches) = entry.fetches();
    fields(json!({
        "remoteId": operation.id,
        "statement": entry.statement,
        "state": state_name(state, listed.protocol),
        "createTime": operation.started_at,
        "startTime": operation.started_at,
        "completeTime": operation.completed_at().unwrap_or(0),
        "sessionId": listed.handle,
        "sessionUser": listed.user,
        "sessionType": "INTERACTIVE",
        "kyuubiInstance": listed.instance,
        "metrics": { "fetchLogCount": log_fetches.to_string(), "fetchResultsCount": row_fetches.to_string() },
        "progress": progress(entry, state),
    }))
}

/// A state as Thrift names it.
pub(super) const fn state_name(state: &State, protocol: i32) -> &'static str {
    match state {
        State::Pending => "PENDING_STATE",
        State::Running => "RUNNING_STATE",
        State::Finished(_) => "FINISHED_STATE",
        State::TimedOut if protocol >= TIMED_OUT_SINCE => "TIMEDOUT_STATE",
        State::TimedOut | State::Canceled => "CANCELED_STATE",
        State::Failed(_) => "ERROR_STATE",
    }
}

fn failure(state: &State) -> Option<String> {
    match state {
        State::Failed(failure) => Some(failure.text.clone()),
        State::TimedOut => Some("the statement ran longer than its limit".to_owned()),
        State::Pending | State::Running | State::Finished(_) | State::Canceled => None,
    }
}

fn progress(entry: &Entry, state: &State) -> Value {
    let progress = entry.operation.progress();
    if state.is_settled() || progress.tasks == 0 {
        return Value::Null;
    }
    let row = [
        progress.stages,
        progress.done_stages,
        progress.tasks,
        progress.done_tasks,
    ];
    json!({
        "headerNames": ["STAGES", "COMPLETE", "TASKS", "DONE"],
        "rows": [row.map(|number| number.to_string())],
        "progressedPercentage": progress.done_tasks as f64 / progress.tasks as f64,
        "status": "RUNNING",
        "footerSummary": "",
        "startTime": entry.operation.started_at,
    })
}

#[cfg(test)]
pub(super) mod tests {
    use berth_core::ids::SessionId;
    use uuid::Uuid;

    use super::*;
    use crate::dialects::sql::directory;
    use crate::dialects::sql::failure::Failure;

    pub(in super::super) fn listed(confs: &[(&str, &str)]) -> Listed {
        let handle = Uuid::from_u128(7);
        Listed {
            format: directory::format(),
            handle,
            session: SessionId::for_connect("bob", handle),
            user: "bob".to_owned(),
            real_user: "ann".to_owned(),
            tenant: None,
            protocol: 0,
            confs: confs
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
            client_ip: "10.1.1.1".to_owned(),
            instance: "berth:10099".to_owned(),
            opened_at: 5,
        }
    }

    #[test]
    fn confs_are_shown_with_what_kyuubi_adds_and_without_secrets() {
        // kyuubi#12, kyuubi#13, kyuubi#44, kyuubi#47
        let found = Found {
            listed: listed(&[("testConfig", "testValue"), ("my.Password", "x")]),
            record: None,
        };
        let shown = session_event(&found, &Seen::default());
        let conf = &shown["conf"];
        assert_eq!(conf["testConfig"], "testValue");
        assert_eq!(conf["my.Password"], REDACTED);
        assert_eq!(conf["kyuubi.client.ipAddress"], "10.1.1.1");
        assert_eq!(conf["kyuubi.server.ipAddress"], "berth");
        assert_eq!(conf["kyuubi.session.real.user"], "ann");
        assert_eq!(
            (&shown["user"], &shown["clientIp"]),
            (&json!("bob"), &json!("10.1.1.1"))
        );
        assert_eq!(
            session(&found, &Seen::default())["identifier"],
            found.listed.handle.to_string()
        );
    }

    /// The names of an object's members, in order.
    fn members(shown: &Value) -> Vec<&str> {
        let mut members: Vec<_> = shown.as_object().unwrap().keys().map(String::as_str).collect();
        members.sort_unstable();
        members
    }

    #[test]
    fn a_session_without_a_driver_says_why() {
        // kyuubi#73
        let found = Found {
            listed: listed(&[]),
            record: None,
        };
        let failed = Seen {
            failure: Some("no node has room".to_owned()),
            ..Seen::default()
        };
        assert_eq!(session(&found, &failed)["exception"], "no node has room");
        assert_eq!(session(&found, &Seen::default())["exception"], "");
        let event = session_event(&found, &failed);
        assert_eq!(event["exception"]["message"], "no node has room");
        assert_eq!(
            members(&event["exception"]),
            ["cause", "localizedMessage", "message", "stackTrace", "suppressed"]
        );
        assert_eq!(session_event(&found, &Seen::default())["exception"], Value::Null);
    }

    #[test]
    fn states_have_thrifts_names() {
        // kyuubi#24, kyuubi#36, kyuubi#43
        let failed = State::Failed(Failure::invalid("x"));
        let table = [
            (State::Pending, 0, "PENDING_STATE"),
            (State::TimedOut, 0, "CANCELED_STATE"),
            (State::TimedOut, 8, "TIMEDOUT_STATE"),
            (failed, 0, "ERROR_STATE"),
        ];
        for (state, protocol, name) in table {
            assert_eq!(state_name(&state, protocol), name);
        }
    }
}
