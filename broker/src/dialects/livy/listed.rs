//! A Livy session or batch as the directory keeps it.

use berth_core::ids::{SessionId, TenantId};
use berth_core::record::{Dialect, Record, Work};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::batches::Batch;
use super::batches::origin::Origin;
use super::idempotency::Key;
use super::kind::Kind;
use super::request::NewSession;

/// Before the number in the client id of a batch.
const BATCH: &str = "batch-";

/// A Livy session or batch as the directory knows it, under `aliases/livy/<number>` or `aliases/livy-batch/<number>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Format number.
    pub format: u16,
    /// Livy's id.
    pub number: u32,
    /// Berth's id.
    pub session: SessionId,
    /// Who opened it; empty without authentication.
    pub owner: String,
    /// The owner's tenant; `None` for the default one.
    #[serde(default)]
    pub tenant: Option<TenantId>,
    /// Whom it runs as, with impersonation; that user may use it too.
    #[serde(default)]
    pub proxy_user: Option<String>,
    /// Its kind.
    pub kind: Kind,
    /// What its client asked for.
    pub request: NewSession,
    /// Why it is dead, if it could not be started or was stopped.
    pub failed: Option<String>,
    /// The key that its request had.
    #[serde(default)]
    pub key: Option<Keyed>,
    /// Its application, if it is a batch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<Batch>,
}

/// What is kept of the key of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keyed {
    /// Of its owner and the key.
    pub id: Uuid,
    /// Fingerprint of the request.
    pub asked: u64,
}

impl Keyed {
    /// What is kept of a key of `owner`, who may act for somebody else.
    pub fn of(key: &Key, owner: &str, proxy_user: Option<&str>) -> Self {
        let id = match proxy_user.filter(|user| *user != owner) {
            None => key.id(owner),
            Some(user) => key.id(&format!("{owner}\0{user}")),
        };
        Self { id, asked: key.asked }
    }
}

impl Listed {
    /// When it was opened, in Unix milliseconds.
    pub fn opened_at(&self) -> u64 {
        let made_at = self.session.uuid().get_timestamp();
        made_at.map_or(0, |at| {
            let (seconds, nanos) = at.to_unix();
            seconds * 1000 + u64::from(nanos) / 1_000_000
        })
    }

    /// What its session is for.
    pub fn work(&self) -> Work {
        match self.batch {
            Some(_) => Work::Batch,
            None => Work::Session,
        }
    }

    /// True when it has ended for good. Its name can be given to another.
    pub fn is_over(&self) -> bool {
        self.failed.is_some() || self.batch.as_ref().is_some_and(|batch| batch.end.is_some())
    }

    /// The dialect that it came over.
    pub fn dialect(&self) -> Dialect {
        match self.origin() {
            Some(_) => Dialect::Kyuubi,
            None => Dialect::Livy,
        }
    }

    fn origin(&self) -> Option<&Origin> {
        self.batch.as_ref()?.origin.as_deref()
    }

    /// The name that its client gave it.
    pub fn name(&self) -> Option<&str> {
        match self.origin() {
            Some(origin) => origin.name.as_deref(),
            None => self.request.name.as_deref(),
        }
    }

    /// What its session's record calls it: the number of a session, `batch-` and the number of a batch, or the id of a
    /// batch that came over Kyuubi's API.
    pub fn client_id(&self) -> String {
        if let Some(origin) = self.origin() {
            return origin.id.to_string();
        }
        match self.work() {
            Work::Session => self.number.to_string(),
            Work::Batch => format!("{BATCH}{}", self.number),
        }
    }
}

/// The number in a [`Listed::client_id`].
pub fn number_of(client_id: &str) -> Option<u32> {
    let number = client_id.strip_prefix(BATCH).unwrap_or(client_id);
    number.parse().ok()
}

impl Record for Listed {
    fn format(&self) -> u16 {
        self.format
    }
}
