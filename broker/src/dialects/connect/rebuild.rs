//! Makes a session's state again on a new driver, from its lineage.
//!
//! Each entry is sent as it was recorded, with the new session's ids and a fresh operation id: a driver remembers
//! the ids of operations that are over. An entry that fails is named and does not stop the others; what was built
//! on it will fail and be named too.

use berth_core::lineage::views::ALTERED;
use berth_core::lineage::{Class, LineageEntry, altered};
use berth_core::wire;
use bytes::Bytes;
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};
use uuid::Uuid;

use super::artifacts::addressed;
use super::attempt::{Attempt, Start, Target};
use super::backend::{Ended, Route};
use super::errors::LOST_VIEW;
use super::loss::{Fault, is_broken_connection};
use super::recorded::{pack, unpack};
use super::rewrite::{self, Kind};
use super::rpc::Rpc;
use super::session::spark_version;
use super::upstream;

/// How many names of lost things are kept for the session's history.
const MAX_LOST: usize = 20;

/// Why a rebuild could not be done on this driver.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RebuildError {
    /// The driver was lost, or never served the session.
    #[error("the driver was lost while the session was rebuilt on it: {reason}")]
    DriverLost {
        /// What it said.
        reason: String,
        /// The step that was under way, by its place in the lineage.
        step: Option<u64>,
    },
}

impl RebuildError {
    fn lost(status: &Status) -> Self {
        Self::DriverLost {
            reason: status.message().to_owned(),
            step: None,
        }
    }

    fn at(self, seq: u64) -> Self {
        let Self::DriverLost { reason, .. } = self;
        Self::DriverLost {
            reason,
            step: Some(seq),
        }
    }
}

/// What a driver says when it is asked for a session.
#[derive(Debug, Clone)]
pub enum Probe {
    /// It serves one of this id of its own.
    Serving(String),
    /// It answers, and serves none.
    Refused(Status),
    /// It was not reached. It may be too busy, or gone.
    Silent(Status),
}

/// A recorded step with its request.
#[derive(Debug, Clone)]
pub struct Step {
    /// The entry.
    pub entry: LineageEntry,
    /// Its payload.
    pub request: Bytes,
}

/// What a rebuild did.
#[derive(Debug, Clone, Default)]
pub struct Rebuilt {
    /// The driver's own id for the session; empty where drivers give none.
    pub server_session_id: String,
    /// How many steps succeeded.
    pub replayed: u64,
    /// What could not be made again, for a person; bounded.
    pub lost: Vec<String>,
    /// How each step ended, by its place in the lineage: the outcome of entries that had none.
    pub ended: Vec<(u64, Ended)>,
}

/// Makes the session on the route's driver, sets `confs` and sends `steps` in order.
///
/// The route's server-side id is not known yet and need not be set.
///
/// # Errors
/// [`RebuildError::DriverLost`]; another driver may do.
pub async fn rebuild(
    mut route: Route,
    confs: &[(String, String)],
    steps: Vec<Step>,
) -> Result<Rebuilt, RebuildError> {
    let mut rebuilt = Rebuilt {
        server_session_id: create(&route).await?,
        ..Rebuilt::default()
    };
    route.upstream_server_session_id = rebuilt.server_session_id.as_str().into();
    if !confs.is_empty() {
        rebuilt.set(&route, confs).await?;
    }
    for step in steps {
        let ended = settled(replay(route.clone(), &step).await);
        let ended = ended.map_err(|error| error.at(step.entry.seq))?;
        rebuilt.ended.push((step.entry.seq, ended.clone()));
        rebuilt.note(&named(&step.entry), ended);
    }
    Ok(rebuilt)
}

impl Rebuilt {
    /// Sets confs. Spark stops at the first one that it refuses: then each is set by itself, so that a client is told
    /// which it was, and has the others.
    async fn set(&mut self, route: &Route, confs: &[(String, String)]) -> Result<(), RebuildError> {
        let all = settled(call(route, Rpc::Config, set_confs(confs)).await)?;
        if matches!(all, Ended::Succeeded(_)) {
            self.note("session confs", all);
            return Ok(());
        }
        for conf in confs {
            let one = call(route, Rpc::Config, set_confs(std::slice::from_ref(conf))).await;
            self.note(&format!("conf {}", conf.0), settled(one)?);
        }
        Ok(())
    }

    fn note(&mut self, what: &str, ended: Ended) {
        match ended {
            Ended::Succeeded(_) => self.replayed += 1,
            Ended::Failed(_) if self.lost.len() >= MAX_LOST => {}
            Ended::Failed(status) => {
                let reason: String = status.message().chars().take(200).collect();
                self.lost.push(format!("{what}: {reason}"));
            }
        }
    }
}

/// How an entry is named that is lost: a view by its key, for the words of a statement may end before its name does.
pub(crate) fn named(entry: &LineageEntry) -> String {
    named_by(entry.class, &entry.key).unwrap_or_else(|| entry.what.clone())
}

fn named_by(class: Class, key: &str) -> Option<String> {
    let altered = key.strip_prefix(ALTERED);
    let is_made = altered.is_some() || class == Class::State;
    match altered.unwrap_or(key).split_once(':')? {
        ("view", name) if is_made => Some(format!("{LOST_VIEW}{name}")),
        ("gview", name) if is_made => Some(format!("{LOST_VIEW}global_temp.{name}")),
        _ => None,
    }
}

/// Asks for the driver's version: the cheapest call that makes a session there and tells its id.
pub async fn probe(route: &Route) -> Probe {
    let answer = match call(route, Rpc::AnalyzePlan, spark_version()).await {
        Ok(answer) => answer,
        Err(status) if is_broken_connection(&status) => return Probe::Silent(status),
        Err(status) => return Probe::Refused(status),
    };
    match wire::last_text(&answer, Rpc::AnalyzePlan.layout().server_session_id) {
        Ok(id) => Probe::Serving(id.unwrap_or_default()),
        Err(error) => Probe::Refused(rewrite::malformed(error)),
    }
}

async fn create(route: &Route) -> Result<String, RebuildError> {
    match probe(route).await {
        Probe::Serving(id) => Ok(id),
        Probe::Refused(status) | Probe::Silent(status) => Err(RebuildError::lost(&status)),
    }
}

/// `ConfigRequest.operation.set`.
fn set_confs(confs: &[(String, String)]) -> Bytes {
    let mut set = Vec::new();
    for (key, value) in confs {
        let mut pair = Vec::new();
        wire::append_string(&mut pair, 1, key);
        wire::append_string(&mut pair, 2, value);
        wire::append_bytes(&mut set, 1, &pair);
    }
    let mut operation = Vec::new();
    wire::append_bytes(&mut operation, 1, &set);
    let mut request = Vec::new();
    wire::append_bytes(&mut request, 3, &operation);
    request.into()
}

async fn call(route: &Route, rpc: Rpc, body: Bytes) -> Result<Bytes, Status> {
    let message = rewrite::request(rpc, route, body, |_| {});
    upstream::unary(route, rpc, message, &MetadataMap::new()).await
}

/// Sends one step; its answer's messages come back packed.
pub(crate) async fn replay(route: Route, step: &Step) -> Result<Bytes, Status> {
    let route = &route;
    match step.entry.call.as_str() {
        "execute" => run(route, &harmless(step.entry.class, &step.request)?).await,
        "config" => one(call(route, Rpc::Config, step.request.clone()).await),
        "analyze" => one(call(route, Rpc::AnalyzePlan, step.request.clone()).await),
        "artifacts" => {
            let messages = addressed(Rpc::AddArtifacts, route, &unpack(step.request.clone()));
            one(upstream::upload(route, Rpc::AddArtifacts, messages, &MetadataMap::new()).await)
        }
        other => Err(Status::unimplemented(format!(
            "a recorded call of kind {other} is not known to this release"
        ))),
    }
}

/// What is sent for a request. Of a write it is what makes the temporary view anew that it altered, or nothing (I3).
fn harmless(class: Class, request: &Bytes) -> Result<Bytes, Status> {
    if class != Class::Write {
        return Ok(request.clone());
    }
    let anew = altered::recreating(request).map(Bytes::from);
    anew.ok_or_else(|| Status::unimplemented("a write is not run a second time"))
}

fn one(answer: Result<Bytes, Status>) -> Result<Bytes, Status> {
    answer.map(|message| pack([message.as_ref()]))
}

async fn run(route: &Route, request: &Bytes) -> Result<Bytes, Status> {
    let target = Target {
        route: route.clone(),
        operation: Uuid::new_v4().to_string(),
        request: Some(request.clone()),
        reattachable: rewrite::is_reattachable(request)?,
        metadata: MetadataMap::new(),
    };
    let mut attempt = Attempt::start(target.clone(), Start::Execute)
        .await
        .map_err(Fault::into_status)?;
    let mut messages = Vec::new();
    while let Some(answer) = attempt.next().await.map_err(Fault::into_status)? {
        if answer.kind != Kind::Progress {
            messages.push(answer.body);
        }
    }
    if target.reattachable {
        // The driver would keep the answer until its own timeout; a failure here costs no more than that.
        drop(target.release().await);
    }
    Ok(pack(messages.iter().map(Bytes::as_ref)))
}

/// Tells a step that failed from a driver that is gone.
fn settled(result: Result<Bytes, Status>) -> Result<Ended, RebuildError> {
    let status = match result {
        Ok(answer) => return Ok(Ended::Succeeded(Some(answer))),
        Err(status) => status,
    };
    match Fault::of(status.clone()) {
        Fault::Lost { .. } => Err(RebuildError::lost(&status)),
        Fault::Answer(_) | Fault::NoOperation(_) | Fault::Taken(_) => Ok(Ended::Failed(forgiven(status)?)),
    }
}

/// Running out of time on a step means the driver hangs, not that the step is wrong.
fn forgiven(status: Status) -> Result<Status, RebuildError> {
    if status.code() == Code::DeadlineExceeded {
        return Err(RebuildError::lost(&status));
    }
    Ok(status)
}

#[cfg(test)]
mod tests {
    use berth_core::sql;

    use super::*;
    use crate::dialects::sql::plan;

    #[test]
    fn i3_nothing_of_a_write_is_sent_but_a_temporary_view_made_anew() {
        for (class, text, expected) in [
            (
                Class::State,
                "create view v as select 1",
                Some("create view v as select 1"),
            ),
            (
                Class::Write,
                "alter view v as select 1",
                Some("CREATE OR REPLACE TEMPORARY VIEW  v AS  select 1"),
            ),
            (Class::Write, "alter view d.v as select 1", None),
            (Class::Write, "drop table v", None),
        ] {
            let mut request = Vec::new();
            wire::append_bytes(&mut request, 3, &plan::sql(text));
            let sent = harmless(class, &request.into()).ok();
            let expected = expected.map(plan::sql);
            let last = sent.map(|sent| wire::last_bytes(&sent, 3).unwrap().unwrap().to_vec());
            assert_eq!(last, expected, "{text}");
        }
    }

    #[test]
    fn a_view_that_is_lost_has_its_name_however_it_was_made() {
        for (text, name) in [
            ("create temp view w as select 1", "w"),
            ("create or replace temporary view `W` as select 1", "w"),
            (
                "create or replace global temp view W as select 1",
                "global_temp.w",
            ),
            ("alter view w as select 1", "w"),
        ] {
            let made = sql::classify(text);
            let named = named_by(made.class, &made.key);
            assert_eq!(named, Some(format!("create view {name}")), "{text}");
        }
        for text in ["drop view w", "set a.b = c", "add jar x"] {
            let other = sql::classify(text);
            assert_eq!(named_by(other.class, &other.key), None, "{text}");
        }
    }
}
