//! Drivers as Kyuubi's engines: which are a user's, how they are shared, and what ends with their sessions.
//!
//! An engine is a driver with a session of the user over Kyuubi's REST API or HiveServer2's protocol. Batches are none,
//! and neither are drivers that serve Livy's or Spark Connect's clients alone.

use std::collections::BTreeMap;

use axum::extract::{Query, State};
use berth_core::ids::SessionId;
use berth_core::record::{Dialect, SessionRecord, SessionState, Work};
use berth_core::share::Level;
use berth_proto::v1;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Kyuubi;
use super::admin::sentence;
use super::door::By;
use super::refusal::Refusal;
use super::sessions::{Answer, Desk, ok};
use crate::dialects::sql::opening;

/// Kyuubi's name of the engines that share no other subdomain.
const DEFAULT: &str = "default";

/// Which engines.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Asked {
    #[serde(rename = "proxyUser")]
    proxy_user: Option<String>,
    #[serde(rename = "hive.server2.proxy.user")]
    hive_proxy_user: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    sharelevel: Option<String>,
    subdomain: Option<String>,
    kill: Option<String>,
}

fn filled(text: Option<&String>) -> Option<&str> {
    text.map(|text| text.trim()).filter(|text| !text.is_empty())
}

impl Asked {
    fn user(&self, by: &By) -> Result<String, Refusal> {
        let named = [&self.proxy_user, &self.hive_proxy_user];
        match named.into_iter().find_map(|user| filled(user.as_ref())) {
            Some(user) if user != by.0.name() => {
                by.operator(&format!("act for {user:.100}"))?;
                Ok(user.to_owned())
            }
            Some(_) | None => Ok(by.0.name().to_owned()),
        }
    }

    fn has_type(&self) -> bool {
        filled(self.kind.as_ref()).is_none_or(|wanted| wanted.eq_ignore_ascii_case("SPARK_SQL"))
    }

    /// The level; any if none is named.
    fn level(&self) -> Result<Option<Level>, Refusal> {
        let level = filled(self.sharelevel.as_ref()).map(|level| opening::level("sharelevel", level));
        level.transpose().map_err(Refusal::of_opening)
    }

    /// Picks those that are asked for; without a subdomain those of any, or of `usual`.
    fn pick(&self, usual: Option<&str>, mut all: Vec<Engine>) -> Result<Vec<Engine>, Refusal> {
        let level = self.level()?;
        let subdomain = filled(self.subdomain.as_ref()).or(usual);
        all.retain(|engine| {
            level.is_none_or(|level| level == engine.level)
                && subdomain.is_none_or(|wanted| wanted == engine.subdomain)
        });
        Ok(if self.has_type() { all } else { Vec::new() })
    }
}

/// A driver as a user's engine.
#[derive(Debug, Clone)]
struct Engine {
    driver: v1::Driver,
    level: Level,
    subdomain: String,
    /// The user's sessions there, of whatever dialect.
    own: Vec<SessionId>,
    /// How many sessions of others are there.
    others: usize,
}

/// The drivers with a session of `user`; `offered` is how widely a profile's drivers may be shared on a node.
fn engines_of(
    user: &str,
    drivers: Vec<v1::Driver>,
    records: &[SessionRecord],
    offered: impl Fn(&v1::Driver) -> Level,
) -> Vec<Engine> {
    let mut on: BTreeMap<String, Vec<&SessionRecord>> = BTreeMap::new();
    for record in records.iter().filter(|record| record.work == Work::Session) {
        if let SessionState::Active { placement, .. } = &record.state {
            on.entry(placement.driver.to_string()).or_default().push(record);
        }
    }
    let engine = |driver: v1::Driver| {
        let all = on.remove(&driver.id)?;
        let (own, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|record| record.owner == user);
        let runs_sql = |record: &&&SessionRecord| matches!(record.dialect, Dialect::Kyuubi | Dialect::Hs2);
        let share = own.iter().find(runs_sql)?.share.as_ref();
        let offered = offered(&driver);
        let level = share.and_then(|asked| asked.level);
        Some(Engine {
            level: level.map_or(offered, |level| level.min(offered)),
            subdomain: share
                .and_then(|asked| asked.subdomain.clone())
                .unwrap_or_else(|| DEFAULT.to_owned()),
            own: own.iter().map(|record| record.id).collect(),
            others: others.len(),
            driver,
        })
    };
    drivers.into_iter().filter_map(engine).collect()
}

impl Engine {
    fn show(&self, user: &str) -> Value {
        let driver = &self.driver;
        json!({
            "version": driver.spark_version,
            "user": user,
            "engineType": "SPARK_SQL",
            "sharelevel": opening::level_name(self.level),
            "subdomain": self.subdomain,
            "instance": driver.id,
            "namespace": format!("/berth/{}", driver.node),
            "attributes": {
                "node": driver.node,
                "profile": driver.profile,
                "state": driver.state,
                "sessions": self.own.len().to_string(),
                "memoryBytes": driver.memory_bytes.to_string(),
            },
        })
    }

    /// What became of it when the user's sessions were closed, but for those in `left`.
    fn told(&self, left: &[String]) -> String {
        let (id, own) = (&self.driver.id, self.own.len());
        match (left, self.others) {
            ([], 0) => format!("Engine {id} is deleted successfully."),
            ([], others) => {
                format!("{own} sessions on engine {id} are closed; it lives on for {others} of other users.")
            }
            (left, _) => format!("Engine {id} lives on: {}.", left.join("; ")),
        }
    }
}

async fn load(kyuubi: &Kyuubi, user: &str) -> Result<Vec<Engine>, Refusal> {
    let records = kyuubi.cluster.sessions().await?;
    let drivers = kyuubi.cluster.drivers().await?;
    let offered = |driver: &v1::Driver| kyuubi.cluster.share(&driver.node, &driver.profile);
    Ok(engines_of(user, drivers, &records, offered))
}

pub(super) async fn list(State(kyuubi): Desk, by: By, Query(asked): Query<Asked>) -> Answer {
    let user = asked.user(&by)?;
    let found = asked.pick(None, load(&kyuubi, &user).await?)?;
    let shown: Vec<Value> = found.iter().map(|engine| engine.show(&user)).collect();
    ok(&shown)
}

/// A driver ends with its last session, so the user's sessions there are closed.
pub(super) async fn end(State(kyuubi): Desk, by: By, Query(asked): Query<Asked>) -> Answer {
    let user = asked.user(&by)?;
    if filled(asked.kill.as_ref()).is_none_or(|kill| !kill.eq_ignore_ascii_case("true")) {
        return Err(Refusal::Malformed(
            "a driver ends by itself after its last session; add kill=true to close its sessions now"
                .to_owned(),
        ));
    }
    let (mut told, mut is_whole) = (Vec::new(), true);
    for engine in asked.pick(Some(DEFAULT), load(&kyuubi, &user).await?)? {
        let left = close_all(&kyuubi, &engine.own).await;
        is_whole &= left.is_empty();
        told.push(engine.told(&left));
    }
    let told = told.join(" ");
    match is_whole {
        true => sentence(told),
        false => Err(Refusal::Unavailable(told)),
    }
}

/// Closes sessions, and tells which are left and why. One that does not close keeps none of the others.
async fn close_all(kyuubi: &Kyuubi, sessions: &[SessionId]) -> Vec<String> {
    let mut left = Vec::new();
    for session in sessions {
        match kyuubi.cluster.close(&session.to_string()).await {
            // Somebody else has closed it.
            Ok(()) | Err(Refusal::NotFound(_)) => {}
            Err(refusal) => left.push(format!("session {session} is not closed: {refusal}")),
        }
    }
    left
}

#[cfg(test)]
pub(super) mod tests;
