//! A store whose calls are timed and are spans of the caller's trace.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use tracing::{Instrument, Span};

use crate::{Entry, LeaseId, Page, RawWatch, Revision, Store, StoreError, StoreRef, Txn, TxnOutcome};

/// Passes each call on to another store. Calls that belong to no request, such as the renewals of leases, are timed
/// without a span: each would be a trace of its own that nobody looks for.
#[derive(Debug)]
pub struct Traced(StoreRef);

impl Traced {
    /// The store `inner`, observed.
    pub fn over(inner: StoreRef) -> StoreRef {
        std::sync::Arc::new(Self(inner))
    }
}

/// The span of a call; none outside of a request.
fn span(call: &'static str) -> Span {
    if Span::current().is_none() {
        return Span::none();
    }
    tracing::info_span!("store", call, otel.kind = "client")
}

async fn observed<T>(
    call: &'static str,
    work: impl Future<Output = Result<T, StoreError>> + Send,
) -> Result<T, StoreError> {
    let started = Instant::now();
    let done = work.instrument(span(call)).await;
    let outcome = if done.is_ok() { "ok" } else { "error" };
    metrics::histogram!("berth_store_seconds", "call" => call, "outcome" => outcome)
        .record(started.elapsed());
    done
}

#[async_trait]
impl Store for Traced {
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        observed("get", self.0.get(key)).await
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
        revision: Option<Revision>,
    ) -> Result<Page, StoreError> {
        observed("list", self.0.list(prefix, after, limit, revision)).await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, StoreError> {
        observed("txn", self.0.txn(txn)).await
    }

    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        observed("grant", self.0.grant(ttl)).await
    }

    async fn renew(&self, lease: LeaseId) -> Result<(), StoreError> {
        observed("renew", self.0.renew(lease)).await
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        observed("revoke", self.0.revoke(lease)).await
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<RawWatch, StoreError> {
        observed("watch", self.0.watch(prefix, from)).await
    }
}
