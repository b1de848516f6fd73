//! Calls of administrators, who are operators here: everybody's sessions and operations, drivers as Kyuubi's engines,
//! brokers as its servers.

use std::collections::{BTreeMap, BTreeSet};

use axum::extract::{Path, Query, State};
use berth_proto::v1;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

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

    /// All sessions here are interactive: batches have calls of their own.
    fn has_type(&self) -> bool {
        let wanted = self.session_type.as_deref().filter(|wanted| !wanted.is_empty());
        wanted.is_none_or(|wanted| {
            wanted.eq_ignore_ascii_case("INTERACTIVE") || wanted.eq_ignore_ascii_case("SQL")
        })
    }

    fn has_handle(&self, handle: &str) -> bool {
        let wanted = self.session_handle.as_deref().filter(|wanted| !wanted.is_empty());
        wanted.is_none_or(|wanted| wanted.eq_ignore_ascii_case(handle))
    }
}

/// Whose engines.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Engines {
    #[serde(rename = "proxyUser")]
    proxy_user: Option<String>,
    #[serde(rename = "hive.server2.proxy.user")]
    hive_proxy_user: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    kill: Option<String>,
}

impl Engines {
    fn user(&self, by: &By) -> Result<String, Refusal> {
        let named = self.proxy_user.as_ref().or(self.hive_proxy_user.as_ref());
        match named.filter(|user| !user.is_empty()) {
            Some(user) if user == by.0.name() => Ok(user.clone()),
            Some(user) => by.operator(&format!("act for {user}")).map(|_| user.clone()),
            None => Ok(by.0.name().to_owned()),
        }
    }

    fn has_type(&self) -> bool {
        let wanted = self.kind.as_deref().filter(|wanted| !wanted.is_empty());
        wanted.is_none_or(|wanted| wanted.eq_ignore_ascii_case("SPARK_SQL"))
    }
}

/// A sentence: Kyuubi's own clients read it as it is, whatever the media type says.
fn sentence(text: String) -> Answer {
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
    by.operator("list all sessions")?;
    if !wanted.has_type() {
        return ok(&Vec::<Value>::new());
    }
    let found = kyuubi
        .directory
        .all(|listed| wanted.has_user(&listed.user))
        .await?;
    let shown: Vec<Value> = found
        .iter()
        .map(|found| show::session(found, kyuubi.seen(found.listed.handle)))
        .collect();
    ok(&shown)
}

pub(super) async fn close_session(State(kyuubi): Desk, by: By, Path(handle): Path<String>) -> Answer {
    by.operator("close sessions of others")?;
    let held = kyuubi.session(&handle, &Caller::default()).await?;
    kyuubi.close(&held).await?;
    sentence(format!("Session {handle} is closed successfully."))
}

pub(super) async fn operations(State(kyuubi): Desk, by: By, Query(wanted): Query<Wanted>) -> Answer {
    by.operator("list all operations")?;
    let found = kyuubi.operations.all(|entry| {
        wanted.has_type()
            && wanted.has_user(&entry.listed.user)
            && wanted.has_handle(&entry.listed.handle.to_string())
    });
    let shown: Vec<Value> = found.iter().map(|entry| show::operation(entry)).collect();
    ok(&shown)
}

pub(super) async fn close_operation(State(kyuubi): Desk, by: By, Path(handle): Path<String>) -> Answer {
    by.operator("close operations of others")?;
    let entry = kyuubi.operation(&handle, &Caller::default()).await?;
    kyuubi.close_operation(&entry);
    sentence(format!("Operation {handle} is closed successfully."))
}

/// The drivers with a session of a user, with those sessions.
async fn drivers_of(kyuubi: &Kyuubi, user: &str) -> Result<Vec<(v1::Driver, Vec<v1::Session>)>, Refusal> {
    let mut sessions: BTreeMap<String, Vec<v1::Session>> = BTreeMap::new();
    for session in kyuubi.cluster.sessions_of(user).await? {
        sessions.entry(session.driver.clone()).or_default().push(session);
    }
    let drivers = kyuubi.cluster.drivers().await?.into_iter();
    let owned = drivers.filter_map(|driver| {
        let own = sessions.remove(&driver.id)?;
        Some((driver, own))
    });
    Ok(owned.collect())
}

pub(super) async fn engines(State(kyuubi): Desk, by: By, Query(asked): Query<Engines>) -> Answer {
    let user = asked.user(&by)?;
    if !asked.has_type() {
        return ok(&Vec::<Value>::new());
    }
    let shown: Vec<Value> = drivers_of(&kyuubi, &user)
        .await?
        .iter()
        .map(|(driver, own)| engine(driver, own.len(), &user))
        .collect();
    ok(&shown)
}

fn engine(driver: &v1::Driver, sessions: usize, user: &str) -> Value {
    json!({
        "version": driver.spark_version,
        "user": user,
        "engineType": "SPARK_SQL",
        "sharelevel": "CONNECTION",
        "subdomain": driver.profile,
        "instance": driver.id,
        "namespace": format!("/berth/{}", driver.node),
        "attributes": {
            "node": driver.node,
            "profile": driver.profile,
            "state": driver.state,
            "sessions": sessions.to_string(),
            "memoryBytes": driver.memory_bytes.to_string(),
        },
    })
}

/// A driver ends with its last session, so the sessions are closed.
pub(super) async fn end_engines(State(kyuubi): Desk, by: By, Query(asked): Query<Engines>) -> Answer {
    let user = asked.user(&by)?;
    if !asked
        .kill
        .as_deref()
        .is_some_and(|kill| kill.eq_ignore_ascii_case("true"))
    {
        return Err(Refusal::Malformed(
            "a driver ends by itself after its last session; add kill=true to close its sessions now"
                .to_owned(),
        ));
    }
    let mut told = String::new();
    for (driver, own) in drivers_of(&kyuubi, &user).await? {
        for session in own {
            kyuubi.cluster.close(&session.id).await?;
        }
        told.push_str(&format!("Engine {} is deleted successfully. ", driver.id));
    }
    sentence(told.trim_end().to_owned())
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
        assert!(wanted("", "").has_user("ann") && wanted("", "").has_type());
        assert!(wanted("ann, bob", "INTERACTIVE").has_user("bob"));
        assert!(!wanted("ann", "BATCH").has_user("bob"));
        assert!(!wanted("ann", "BATCH").has_type());
    }

    #[test]
    fn i7_only_operators_ask_about_others() {
        // kyuubi#66
        let by = |operator| {
            By(Caller {
                user: Some("ann".to_owned()),
                tenant: None,
                operator,
            })
        };
        let asked = Engines {
            proxy_user: Some("bob".to_owned()),
            ..Engines::default()
        };
        assert!(matches!(asked.user(&by(false)), Err(Refusal::Forbidden(_))));
        assert_eq!(asked.user(&by(true)), Ok("bob".to_owned()));
        assert_eq!(Engines::default().user(&by(false)), Ok("ann".to_owned()));
    }
}
