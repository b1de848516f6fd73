//! Calls of administrators, who are operators here: everybody's sessions, operations and batches, and brokers as
//! Kyuubi's servers.

use std::collections::BTreeSet;

use axum::extract::{Path, Query, State};
use berth_proto::v1;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::batches::show::Shown;
use super::door::By;
use super::refusal::{self, Refusal};
use super::sessions::{Answer, Desk, ok};
use super::{Kyuubi, show};
use crate::dialects::sql::Caller;

/// What can be asked to be read again.
const REFRESHED: [(&str, &str); 6] = [
    ("hadoop_conf", "Hadoop conf"),
    ("user_defaults_conf", "user defaults conf"),
    ("kubernetes_conf", "Kubernetes conf"),
    ("unlimited_users", "unlimited users"),
    ("deny_users", "denied users"),
    ("deny_ips", "denied addresses"),
];

/// The names of the two types of sessions.
const INTERACTIVE: [&str; 2] = ["INTERACTIVE", "SQL"];
const BATCH: [&str; 1] = ["BATCH"];

/// Which sessions or operations.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Wanted {
    users: Option<String>,
    session_type: Option<String>,
    session_handle: Option<String>,
}

impl Wanted {
    fn has_user(&self, user: &str) -> bool {
        let users = self.users.as_deref().filter(|users| !users.is_empty());
        users.is_none_or(|users| users.split(',').any(|name| name.trim() == user))
    }

    /// True if sessions of a type are among them, by either of its names.
    fn has_type(&self, names: &[&str]) -> bool {
        let wanted = self.session_type.as_deref().filter(|wanted| !wanted.is_empty());
        wanted.is_none_or(|wanted| names.iter().any(|name| name.eq_ignore_ascii_case(wanted)))
    }

    fn has_handle(&self, handle: &str) -> bool {
        let wanted = self.session_handle.as_deref().filter(|wanted| !wanted.is_empty());
        wanted.is_none_or(|wanted| wanted.eq_ignore_ascii_case(handle))
    }
}

/// A sentence: Kyuubi's own clients read it as it is, whatever the media type says.
pub(super) fn sentence(text: String) -> Answer {
    Ok(refusal::typed(StatusCode::OK, "application/json", text))
}

pub(super) async fn refresh(by: By, Path(what): Path<String>) -> Answer {
    by.operator("refresh the configuration")?;
    let known = REFRESHED.iter().find(|(name, _)| *name == what);
    let (_, shown) = known.ok_or_else(|| Refusal::NoPath("/api/v1/admin/refresh".to_owned()))?;
    sentence(format!(
        "There is nothing to refresh: Berth has no {shown}, and reads tokens again when they change."
    ))
}

pub(super) async fn sessions(State(kyuubi): Desk, by: By, Query(wanted): Query<Wanted>) -> Answer {
    let caller = by.operator("list all sessions")?;
    let mut shown = Vec::new();
    if wanted.has_type(&INTERACTIVE) {
        let found = kyuubi
            .all_sessions(|listed| wanted.has_user(&listed.user))
            .await?;
        shown.extend(
            found
                .iter()
                .map(|found| show::session(found, &kyuubi.seen(found.listed.handle))),
        );
    }
    if wanted.has_type(&BATCH) {
        let batches = running_batches(&kyuubi, caller, &wanted).await?;
        shown.extend(batches.iter().map(Shown::as_session));
    }
    ok(&shown)
}

/// The batches that are not over.
async fn running_batches(kyuubi: &Kyuubi, caller: &Caller, wanted: &Wanted) -> Result<Vec<Shown>, Refusal> {
    let mut batches = kyuubi.batches_of(caller).await?;
    batches
        .retain(|shown| !shown.is_over() && wanted.has_user(shown.user()) && wanted.has_handle(&shown.id()));
    Ok(batches)
}

pub(super) async fn close_session(State(kyuubi): Desk, by: By, Path(handle): Path<String>) -> Answer {
    by.operator("close sessions of others")?;
    match kyuubi.session(&handle, &Caller::default()).await {
        Ok(held) => kyuubi.close(&held).await?,
        // What is listed among them can be ended among them.
        Err(unknown @ Refusal::NotFound(_)) => {
            if !kyuubi.close_jdbc(&handle).await? && !is_batch_ended(&kyuubi, &handle, &by.0).await {
                return Err(unknown);
            }
        }
        Err(refusal) => return Err(refusal),
    }
    sentence(format!("Session {handle} is closed successfully."))
}

async fn is_batch_ended(kyuubi: &Kyuubi, handle: &str, caller: &Caller) -> bool {
    let ended = kyuubi.cancel_batch(handle, caller).await;
    ended.is_ok_and(|(is_ended, _)| is_ended)
}

pub(super) async fn operations(State(kyuubi): Desk, by: By, Query(wanted): Query<Wanted>) -> Answer {
    let caller = by.operator("list all operations")?;
    let found = kyuubi.operations.all(|entry| {
        wanted.has_type(&INTERACTIVE)
            && wanted.has_user(&entry.listed.user)
            && wanted.has_handle(&entry.listed.handle.to_string())
    });
    let mut shown: Vec<Value> = found.iter().map(|entry| show::operation(entry)).collect();
    if wanted.has_type(&BATCH) {
        let batches = running_batches(&kyuubi, caller, &wanted).await?;
        shown.extend(batches.iter().map(Shown::as_operation));
    }
    ok(&shown)
}

pub(super) async fn close_operation(State(kyuubi): Desk, by: By, Path(handle): Path<String>) -> Answer {
    by.operator("close operations of others")?;
    let entry = kyuubi.operation(&handle, &Caller::default()).await?;
    kyuubi.close_operation(&entry);
    sentence(format!("Operation {handle} is closed successfully."))
}

pub(super) async fn servers(State(kyuubi): Desk, by: By) -> Answer {
    by.operator("list the servers")?;
    let brokers = kyuubi.cluster.brokers().await?;
    let mut seen = BTreeSet::new();
    let shown: Vec<Value> = brokers
        .iter()
        .filter(|broker| seen.insert(broker.id.clone()))
        .map(server)
        .collect();
    ok(&shown)
}

/// A broker with the address at which its admin pages are.
fn server(broker: &v1::Broker) -> Value {
    let (host, port) = broker
        .admin_address
        .rsplit_once(':')
        .unwrap_or((&broker.admin_address, "0"));
    json!({
        "nodeName": broker.id,
        "namespace": "berth",
        "instance": broker.admin_address,
        "host": host,
        "port": port.parse::<u16>().unwrap_or_default(),
        "attributes": {
            "serverUri": broker.admin_address,
            "version": broker.version,
            "sequence": broker.id,
            "leader": broker.leader.to_string(),
            "startedAt": broker.started_at_unix_ms.to_string(),
        },
        "status": "Running",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_picked_by_user_and_type() {
        // kyuubi#63
        let wanted = |users: &str, kind: &str| Wanted {
            users: Some(users.to_owned()),
            session_type: Some(kind.to_owned()),
            session_handle: None,
        };
        let (none, both) = (wanted("", ""), wanted("ann, bob", "interactive"));
        assert!(none.has_user("ann") && none.has_type(&INTERACTIVE) && none.has_type(&BATCH));
        assert!(both.has_user("bob") && both.has_type(&INTERACTIVE) && !both.has_type(&BATCH));
        let batches = wanted("ann", "BATCH");
        assert!(!batches.has_user("bob") && batches.has_type(&BATCH) && !batches.has_type(&INTERACTIVE));
    }
}
