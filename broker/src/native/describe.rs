//! Records and figures in the words of the native API.

use berth_core::ids::NodeId;
use berth_core::record::{Record, SessionRecord, SessionState};
use berth_proto::{agent as api, v1};

use crate::fleet::Node;

pub(super) fn millis(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(super) fn describe_driver(node: &NodeId, driver: api::Driver) -> v1::Driver {
    v1::Driver {
        id: driver.driver_id,
        node: node.to_string(),
        profile: driver.profile,
        state: driver.state,
        pid: driver.pid,
        jvm_pid: driver.jvm_pid,
        memory_bytes: driver.memory_bytes,
        started_at_unix_ms: driver.started_at_unix_ms,
        sessions: driver
            .sessions
            .into_iter()
            .map(|session| session.session_id)
            .collect(),
        log_path: driver.log_path,
        spark_version: driver.spark_version,
    }
}

pub(super) fn describe_session(record: &SessionRecord) -> v1::Session {
    let (state, placement) = match &record.state {
        SessionState::Placing { from: None, .. } => ("placing", None),
        SessionState::Placing { from: Some(from), .. } => ("recovering", Some(from)),
        SessionState::Active { placement, .. } => ("active", Some(placement)),
        SessionState::Closed { .. } => ("closed", None),
    };
    let history = record.history.iter();
    v1::Session {
        id: record.id.to_string(),
        dialect: record.dialect.as_str().to_owned(),
        owner: record.owner.clone(),
        tenant: record.tenant.to_string(),
        profile: record.profile.to_string(),
        client_id: record.client_id.clone(),
        name: record.name.clone().unwrap_or_default(),
        state: state.to_owned(),
        epoch: record.epoch.get(),
        node: placement
            .map(|placement| placement.node.to_string())
            .unwrap_or_default(),
        driver: placement
            .map(|placement| placement.driver.to_string())
            .unwrap_or_default(),
        created_at_unix_ms: millis(record.created_at),
        history: history
            .map(|event| v1::HistoryEvent {
                at_unix_ms: millis(event.at),
                epoch: event.epoch.get(),
                what: event.what.clone(),
            })
            .collect(),
    }
}

pub(super) fn describe_node(node: &Node) -> v1::Node {
    let load = node.load.clone().unwrap_or_default();
    let state = match (&node.load, node.record.draining) {
        (None, _) => "unreachable",
        (Some(_), true) => "draining",
        (Some(_), false) => "up",
    };
    v1::Node {
        id: node.record.id.to_string(),
        address: node.record.address.clone(),
        state: state.to_owned(),
        memory_capacity_bytes: load.memory_capacity_bytes,
        memory_reserved_bytes: load.memory_reserved_bytes,
        drivers: load.drivers,
        driver_slots: load.driver_slots,
        sessions: load.sessions,
        cpu: load.cpu,
        warm: load.profiles.iter().map(|profile| profile.warm).sum(),
        version: node.record.version.clone(),
    }
}

/// What a watch tells of a change in the store; nothing of the end of a record.
pub(super) fn changed(event: &berth_store::Event) -> Option<v1::SessionEvent> {
    let berth_store::Event::Put(entry) = event else {
        return None;
    };
    let record = SessionRecord::decode(&entry.key, &entry.value).ok()?;
    Some(v1::SessionEvent {
        session: Some(describe_session(&record)),
    })
}
