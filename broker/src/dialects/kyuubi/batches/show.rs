//! Batches as Kyuubi's clients see them.

use berth_runtime::clock::unix_millis;
use serde_json::{Value, json};

use super::super::show::redacted;
use crate::dialects::livy::batches::origin::Origin;
use crate::dialects::livy::batches::{Batch, Last, SAID_BY_BERTH};
use crate::dialects::livy::listed::Listed;

/// The states by which batches can be looked for.
pub(super) const STATES: [&str; 5] = ["PENDING", "RUNNING", "FINISHED", "ERROR", "CANCELED"];

/// A batch with where it comes from.
#[derive(Debug, Clone)]
pub(in crate::dialects::kyuubi) struct Shown {
    pub(super) listed: Listed,
    pub(super) batch: Batch,
    pub(super) origin: Origin,
}

impl Shown {
    /// The batch of an entry, which has one.
    pub(super) fn of(listed: Listed) -> Option<Self> {
        let batch = listed.batch.clone()?;
        let origin = (**batch.origin.as_ref()?).clone();
        Some(Self {
            listed,
            batch,
            origin,
        })
    }

    /// Kyuubi's word for how it is.
    pub(super) fn state(&self) -> &'static str {
        match (&self.batch.end, self.batch.run) {
            (None, None) => "PENDING",
            (None, Some(_)) => "RUNNING",
            (Some(end), _) => match end.state {
                Last::Success => "FINISHED",
                Last::Killed if self.batch.cancelled => "CANCELED",
                Last::Dead | Last::Killed => "ERROR",
            },
        }
    }

    /// Kyuubi's word for how its application is.
    fn application_state(&self) -> Option<&'static str> {
        match (&self.batch.end, self.batch.run) {
            (None, None) => None,
            (None, Some(_)) => Some("RUNNING"),
            (Some(end), _) => Some(match end.state {
                Last::Success => "FINISHED",
                Last::Dead => "FAILED",
                Last::Killed => "KILLED",
            }),
        }
    }

    /// True when it has ended.
    pub(in crate::dialects::kyuubi) fn is_over(&self) -> bool {
        self.batch.end.is_some()
    }

    /// The user that it runs for.
    pub(in crate::dialects::kyuubi) fn user(&self) -> &str {
        &self.listed.owner
    }

    /// Its client's id of it.
    pub(in crate::dialects::kyuubi) fn id(&self) -> String {
        self.origin.id.to_string()
    }

    /// `SessionData`: in Kyuubi a batch is a session of its own.
    pub(in crate::dialects::kyuubi) fn as_session(&self) -> Value {
        let created = self.listed.opened_at();
        let name = self.origin.name.as_deref().unwrap_or_default();
        json!({
            "identifier": self.origin.id,
            "remoteId": self.listed.session.to_string(),
            "user": self.listed.owner,
            "ipAddr": self.origin.client_ip,
            "conf": redacted(&self.listed.request.conf),
            "createTime": created,
            "duration": unix_millis().saturating_sub(created),
            "idleTime": 0,
            "exception": "",
            "sessionType": "BATCH",
            "kyuubiInstance": self.origin.instance,
            "engineId": self.batch.driver,
            "engineName": name,
            "engineUrl": "",
            "sessionName": name,
            "totalOperations": 1,
        })
    }

    /// `OperationData`, of the one operation that a batch is in Kyuubi.
    pub(in crate::dialects::kyuubi) fn as_operation(&self) -> Value {
        json!({
            "identifier": self.origin.id,
            "remoteId": self.batch.driver,
            "statement": "BATCH_JOB_SUBMISSION",
            "state": format!("{}_STATE", self.state()),
            "createTime": self.listed.opened_at(),
            "startTime": self.batch.began_at,
            "completeTime": self.ended_at(),
            "exception": self.diagnostic().unwrap_or_default(),
            "sessionId": self.origin.id,
            "sessionUser": self.listed.owner,
            "sessionType": "BATCH",
            "kyuubiInstance": self.origin.instance,
            "metrics": {},
            "progress": null,
        })
    }

    /// When it ended; 0 before.
    pub(super) fn ended_at(&self) -> u64 {
        self.batch.end.as_ref().map_or(0, |end| end.at)
    }

    /// Why it is over, if it did not go well.
    fn diagnostic(&self) -> Option<&str> {
        let last = self.batch.end.as_ref()?.log.last()?;
        last.strip_prefix(SAID_BY_BERTH)
    }

    /// `Batch`.
    pub(super) fn show(&self, is_duplicate: bool) -> Value {
        let info = match is_duplicate {
            true => json!({ "kyuubi.batch.duplicated": "true" }),
            false => json!({}),
        };
        let driver = Some(&self.batch.driver).filter(|driver| !driver.is_empty());
        json!({
            "id": self.origin.id,
            "user": self.listed.owner,
            "batchType": self.origin.kind.as_str(),
            "name": self.origin.name,
            "appStartTime": self.batch.began_at,
            "appId": driver,
            "appUrl": null,
            "appState": self.application_state(),
            "appDiagnostic": self.diagnostic(),
            "kyuubiInstance": self.origin.instance,
            "state": self.state(),
            "createTime": self.listed.opened_at(),
            "endTime": self.ended_at(),
            "batchInfo": info,
        })
    }
}
