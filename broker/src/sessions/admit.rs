//! Opens a session's record, within the limits of its tenant (I5).

use berth_core::admission::admit;
use berth_core::ids::{Epoch, ProfileName, TenantId};
use berth_core::keys;
use berth_core::record::{FORMAT, Record, SessionRecord, SessionState, UsageRecord};
use berth_core::session::reopen;
use berth_runtime::clock::unix_millis;
use berth_store::{Compare, Txn};
use uuid::Uuid;

use super::{Read, Sessions};
use crate::commit::{commit, get};
use crate::dialects::connect::backend::{Refusal, Wanted};
use crate::ledger::{not_written, unavailable};

impl Sessions {
    pub(super) async fn create(&self, wanted: &Wanted) -> Result<(), Refusal> {
        let record = self.new_record(wanted)?;
        let key = keys::session(record.id);
        let value = record.encode();
        let txn = Txn::new()
            .when(Compare::Absent(key.clone()))
            .put(&key, value.clone());
        self.admitted(txn, &record, (&key, &value)).await
    }

    pub(super) async fn open_again(&self, read: &Read, wanted: &Wanted) -> Result<(), Refusal> {
        let old = SessionRecord::clone(&read.record);
        let record = reopen(old, Uuid::new_v4(), self.id.clone(), unix_millis()).map_err(unavailable)?;
        let record = SessionRecord {
            tenant: self.tenant(wanted),
            ..record
        };
        let key = keys::session(record.id);
        let value = record.encode();
        let txn = Txn::new()
            .when(Compare::ModRevision(key.clone(), read.revision))
            .put(&key, value.clone());
        self.admitted(txn, &record, (&key, &value)).await
    }

    /// Adds the tenant's usage to a transaction that opens a session (I5). A lost race is no error: the caller
    /// reads the record again.
    async fn admitted(
        &self,
        txn: Txn,
        record: &SessionRecord,
        witness: (&str, &[u8]),
    ) -> Result<(), Refusal> {
        let key = keys::usage(&record.tenant);
        let usage = get(&self.store, &key).await.map_err(unavailable)?;
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
        let txn = txn.when(compare).put(&key, next.encode());
        let opened = commit(&self.store, txn, witness).await;
        opened.map(drop).map_err(not_written)
    }

    fn tenant(&self, wanted: &Wanted) -> TenantId {
        wanted
            .tenant
            .clone()
            .unwrap_or_else(|| self.config.default_tenant.clone())
    }

    /// What the session's driver reserves: what its client asked for, else what the nodes say of the profile. 0 as
    /// long as no node is known; placement then takes the node's own figure.
    fn memory_of(&self, wanted: &Wanted, profile: &ProfileName) -> u64 {
        let asked = wanted.memory_bytes.map(|asked| asked.max(1));
        asked.or_else(|| self.fleet.memory_of(profile)).unwrap_or(0)
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
            dialect: wanted.dialect,
            work: wanted.work,
            owner: wanted.owner.clone(),
            tenant: self.tenant(wanted),
            profile: profile.clone(),
            client_id: wanted.client_id.clone(),
            name: wanted.name.clone(),
            server_session_id: Uuid::new_v4(),
            memory_bytes: self.memory_of(wanted, &profile),
            confs: wanted.confs.clone(),
            lifetime: wanted.lifetime,
            share: wanted.share.clone(),
            bound_to: wanted.is_bound.then(|| self.id.clone()),
            created_at: now,
            epoch: Epoch::INITIAL,
            state: SessionState::Placing {
                broker: self.id.clone(),
                from: None,
                cause: None,
                since: now,
            },
            early_losses: Vec::new(),
            left_out: 0,
            history: Vec::new(),
        })
    }
}
