//! Opens a session's record, within the limits of its tenant (I5).

use std::collections::BTreeMap;

use berth_core::admission::admit;
use berth_core::ids::{Epoch, TenantId};
use berth_core::keys;
use berth_core::record::{Dialect, FORMAT, Record, SessionRecord, SessionState, UsageRecord};
use berth_core::session::reopen;
use berth_runtime::clock::unix_millis;
use berth_store::{Compare, Txn};
use uuid::Uuid;

use super::{Read, Sessions};
use crate::dialects::connect::backend::{Refusal, Wanted};
use crate::ledger::unavailable;

impl Sessions {
    pub(super) async fn create(&self, wanted: &Wanted) -> Result<(), Refusal> {
        let record = self.new_record(wanted)?;
        let key = keys::session(record.id);
        let txn = Txn::new()
            .when(Compare::Absent(key.clone()))
            .put(&key, record.encode());
        self.admitted(txn, &record).await
    }

    pub(super) async fn open_again(&self, read: &Read, wanted: &Wanted) -> Result<(), Refusal> {
        let old = SessionRecord::clone(&read.record);
        let record = reopen(old, Uuid::new_v4(), self.id.clone(), unix_millis()).map_err(unavailable)?;
        let record = SessionRecord {
            tenant: self.tenant(wanted),
            ..record
        };
        let key = keys::session(record.id);
        let txn = Txn::new()
            .when(Compare::ModRevision(key.clone(), read.revision))
            .put(&key, record.encode());
        self.admitted(txn, &record).await
    }

    /// Adds the tenant's usage to a transaction that opens a session (I5). A lost race is no error: the caller
    /// reads the record again.
    async fn admitted(&self, txn: Txn, record: &SessionRecord) -> Result<(), Refusal> {
        let key = keys::usage(&record.tenant);
        let usage = self.store.get(&key).await.map_err(unavailable)?;
        let compare = match &usage {
            Some(entry) => Compare::ModRevision(key.clone(), entry.mod_revision),
            None => Compare::Absent(key.clone()),
        };
        let usage = usage
            .map(|entry| UsageRecord::decode(&key, &entry.value))
            .transpose()
            .map_err(unavailable)?;
        let limits = self.config.limits(&record.tenant);
        let next =
            admit(usage.as_ref(), limits, record.memory_bytes).map_err(|reason| Refusal::Quota { reason })?;
        self.store
            .txn(txn.when(compare).put(&key, next.encode()))
            .await
            .map(drop)
            .map_err(unavailable)
    }

    fn tenant(&self, wanted: &Wanted) -> TenantId {
        wanted
            .tenant
            .clone()
            .unwrap_or_else(|| self.config.default_tenant.clone())
    }

    fn new_record(&self, wanted: &Wanted) -> Result<SessionRecord, Refusal> {
        let profile = match &wanted.profile {
            Some(name) => name.parse().map_err(|error| Refusal::Denied {
                reason: format!("{error}"),
            })?,
            None => self.config.default_profile.clone(),
        };
        let now = unix_millis();
        Ok(SessionRecord {
            format: FORMAT,
            id: wanted.session,
            dialect: Dialect::Connect,
            owner: wanted.owner.clone(),
            tenant: self.tenant(wanted),
            profile,
            client_id: wanted.client_session.to_string(),
            name: None,
            server_session_id: Uuid::new_v4(),
            memory_bytes: 0,
            confs: BTreeMap::new(),
            created_at: now,
            epoch: Epoch::INITIAL,
            state: SessionState::Placing {
                broker: self.id.clone(),
                from: None,
                cause: None,
                since: now,
            },
            history: Vec::new(),
        })
    }
}
