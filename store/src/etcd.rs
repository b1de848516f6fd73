//! The store in etcd, 3.4 or later.
//!
//! The only module that knows the client library, which neither renews leases over a reconnection nor resumes
//! watches, and whose calls wait for ever by default. Here every try has a deadline of its own. What may be repeated
//! is repeated at the next member, a few times; what may have happened unnoticed is reported as
//! [`StoreError::Unknown`].

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use etcd_client::{GetOptions, GetResponse, LeaseGrantOptions, ResponseHeader};

use crate::{Entry, LeaseId, Page, RawWatch, Revision, Store, StoreError, Txn, TxnOutcome};

mod config;
mod convert;
mod fault;
mod members;
mod watcher;

pub use config::{ConnectError, EtcdConfig};
use convert::Prefix;
use fault::Fault;
use members::{Members, Repeat};
use watcher::Watcher;

/// The store in etcd.
#[derive(Debug)]
pub struct Etcd {
    prefix: Prefix,
    members: Members,
}

impl Etcd {
    /// Connects, and reads once to see that it is let in.
    ///
    /// # Errors
    /// [`ConnectError`], which says what to set right. With [`ConnectError::Store`] and a source that
    /// [is transient](StoreError::is_transient), a later try may succeed.
    pub async fn connect(config: EtcdConfig) -> Result<Arc<Self>, ConnectError> {
        let options = config::options(&config)?;
        let etcd = Self {
            members: Members::new(&config.endpoints, options, config.request_timeout),
            prefix: Prefix::new(config.prefix),
        };
        etcd.get("").await.map_err(|source| ConnectError::Store {
            endpoints: config.endpoints.join(", "),
            source,
        })?;
        Ok(Arc::new(etcd))
    }

    /// Reads a range, with fewer keys if the answer would be too large.
    async fn range(
        &self,
        start: &str,
        end: &[u8],
        mut limit: i64,
        revision: Revision,
    ) -> Result<GetResponse, Fault> {
        loop {
            let options = GetOptions::new()
                .with_range(end)
                .with_limit(limit)
                .with_revision(revision);
            let ask = |mut clients: members::Clients| {
                let (start, options) = (start.to_owned(), options.clone());
                async move { clients.kv.get(start, Some(options)).await }
            };
            match self.members.call(Repeat::Freely, ask).await {
                Err(Fault::TooLarge(_)) if limit > 1 => limit /= 2,
                other => return other,
            }
        }
    }

    async fn grant_as(&self, id: i64, ttl: i64) -> Result<(), Fault> {
        let grant = |mut clients: members::Clients| async move {
            let options = LeaseGrantOptions::new().with_id(id);
            clients.lease.grant(ttl, Some(options)).await.map(drop)
        };
        match self.members.call(Repeat::Freely, grant).await {
            // The id is random, so it was an earlier try of this call whose answer was lost.
            Err(Fault::LeaseExists) => Ok(()),
            other => other,
        }
    }
}

#[async_trait]
impl Store for Etcd {
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        let key = self.prefix.full(key);
        let get = |mut clients: members::Clients| {
            let key = key.clone();
            async move { clients.kv.get(key, None).await }
        };
        let found = self.members.call(Repeat::Freely, get).await;
        let found = found.map_err(Fault::of_read)?;
        Ok(found.kvs().first().map(|kv| self.prefix.entry(kv)))
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
        revision: Option<Revision>,
    ) -> Result<Page, StoreError> {
        let prefix = self.prefix.full(prefix);
        let after = after.map(|after| self.prefix.full(after) + "\0");
        let start = after.map_or_else(|| prefix.clone(), |after| after.max(prefix.clone()));
        let limit = i64::try_from(limit.max(1)).unwrap_or(i64::MAX);
        let found = self
            .range(&start, &convert::range_end(&prefix), limit, revision.unwrap_or(0))
            .await
            .map_err(|fault| fault.of_history(revision.unwrap_or(0)))?;
        Ok(Page {
            entries: found.kvs().iter().map(|kv| self.prefix.entry(kv)).collect(),
            revision: revision.unwrap_or_else(|| revision_of(found.header())),
            more: found.more(),
        })
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, StoreError> {
        let lease = convert::lease_of(&txn);
        // Without changes it is a question, and may be asked again.
        let repeat = if txn.then.is_empty() {
            Repeat::Freely
        } else {
            Repeat::IfNotApplied
        };
        let txn = self.prefix.txn(txn);
        let send = |mut clients: members::Clients| {
            let txn = txn.clone();
            async move { clients.kv.txn(txn).await }
        };
        let answer = self.members.call(repeat, send).await;
        let answer = answer.map_err(|fault| match repeat {
            Repeat::Freely => fault.of_read(),
            Repeat::IfNotApplied => fault.of_write(lease),
        })?;
        let revision = revision_of(answer.header());
        Ok(if answer.succeeded() {
            TxnOutcome::Done(revision)
        } else {
            TxnOutcome::Conflict(revision)
        })
    }

    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        // A chosen id makes a repeated grant find what the first one made.
        let id = rand::random_range(1..=i64::MAX);
        let granted = self.grant_as(id, whole_seconds(ttl)).await;
        granted.map_err(|fault| fault.of_write(None))?;
        Ok(LeaseId(id))
    }

    async fn renew(&self, lease: LeaseId) -> Result<(), StoreError> {
        // A stream a renewal: a kept one would die unnoticed with its member.
        let renew = |mut clients: members::Clients| async move {
            let (_keeper, _answers) = clients.lease.keep_alive(lease.0).await?;
            Ok(())
        };
        let renewed = self.members.call(Repeat::Freely, renew).await;
        renewed.map_err(|fault| match fault {
            Fault::LeaseMissing => StoreError::LeaseGone(lease),
            other => other.of_read(),
        })
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        let revoke =
            |mut clients: members::Clients| async move { clients.lease.revoke(lease.0).await.map(drop) };
        match self.members.call(Repeat::Freely, revoke).await {
            Ok(()) | Err(Fault::LeaseMissing) => Ok(()),
            Err(fault) => Err(fault.of_write(None)),
        }
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<RawWatch, StoreError> {
        let from = from.max(1);
        let open = |clients: members::Clients| {
            Watcher::open(clients, self.prefix.clone(), self.prefix.full(prefix), from)
        };
        let watcher = self.members.call(Repeat::Freely, open).await;
        let watcher = watcher.map_err(|fault| fault.of_history(from))?;
        Ok(watcher.stream())
    }
}

fn revision_of(header: Option<&ResponseHeader>) -> Revision {
    header.map_or(0, ResponseHeader::revision)
}

/// etcd counts leases in whole seconds; a longer one is safe for whoever relies on the shorter.
fn whole_seconds(ttl: Duration) -> i64 {
    let up = ttl + Duration::from_nanos(999_999_999);
    i64::try_from(up.as_secs()).unwrap_or(i64::MAX).max(1)
}
