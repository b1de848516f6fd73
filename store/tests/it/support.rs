//! Stores to test on, and waiting for states.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use berth_store::embedded::Embedded;
use berth_store::etcd::Etcd;
use berth_store::{Op, Revision, StoreError, StoreRef, Txn, TxnOutcome};

mod bucket;
mod link;
mod server;

pub(crate) use bucket::Bucket;
pub(crate) use link::Link;
pub(crate) use server::{Server, config};

/// Changes that the embedded store under test remembers.
const LOG_EVENTS: usize = 10_000;
/// How long a test waits for a state before it fails. Generous: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(30);

/// A store and what it runs on.
pub(crate) struct Stage {
    pub(crate) store: StoreRef,
    server: Option<Server>,
}

impl Stage {
    /// The embedded store, in memory.
    pub(crate) fn embedded() -> Self {
        let store = Embedded::in_memory(LOG_EVENTS).unwrap();
        Self { store, server: None }
    }

    /// An etcd of its own.
    pub(crate) async fn etcd() -> Self {
        let server = Server::start().await;
        let store = server.connect().await;
        Self {
            store,
            server: Some(server),
        }
    }

    /// Makes the store forget what it was up to its present revision, which it gives.
    pub(crate) async fn forget(&self) -> Revision {
        match &self.server {
            Some(server) => {
                let revision = now(&self.store).await;
                server.compact(revision).await;
                revision
            }
            None => self.overflow_log().await,
        }
    }

    async fn overflow_log(&self) -> Revision {
        for _ in 0..=LOG_EVENTS / 100 {
            let filler = (0..100).fold(Txn::new(), |txn, n| txn.put(format!("filler/{n}"), "x"));
            done(&self.store, filler).await;
        }
        now(&self.store).await
    }
}

/// The present revision.
pub(crate) async fn now(store: &StoreRef) -> Revision {
    store.list("none/", None, 1, None).await.unwrap().revision
}

/// Makes changes that must not conflict.
pub(crate) async fn done(store: &StoreRef, txn: Txn) -> Revision {
    match store.txn(txn.clone()).await.unwrap() {
        TxnOutcome::Done(revision) => revision,
        TxnOutcome::Conflict(revision) => panic!("{txn:?} conflicted at {revision}"),
    }
}

/// Sets a key.
pub(crate) async fn put(store: &StoreRef, key: &str, value: &str) -> Revision {
    done(store, Txn::new().put(key, value.to_owned())).await
}

/// Removes all keys with a prefix.
pub(crate) async fn delete_all(store: &StoreRef, prefix: &str) -> Revision {
    done(store, Txn::new().op(Op::DeletePrefix(prefix.to_owned()))).await
}

/// Waits until `probe` answers.
pub(crate) async fn eventually<T, F>(what: &str, mut probe: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while tokio::time::Instant::now() < deadline {
        ticks.tick().await;
        if let Some(answer) = probe().await {
            return answer;
        }
    }
    panic!("gave up waiting for: {what}");
}

/// Waits for `future`, but not for ever.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(answer) => answer,
        Err(elapsed) => panic!("gave up waiting for: {what} ({elapsed})"),
    }
}

/// Tries again while the store is away. What is tried must bear being done twice.
pub(crate) async fn persist<T, F>(what: &str, mut call: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T, StoreError>>,
{
    eventually(what, || {
        let call = call();
        async move {
            match call.await {
                Ok(answer) => Some(answer),
                Err(error) if error.is_transient() => None,
                Err(error) => panic!("{what}: {error}"),
            }
        }
    })
    .await
}

/// Runs each test on the embedded store and on etcd.
macro_rules! on_every_store {
    ($($name:ident),+ $(,)?) => {
        mod on_embedded {
            $(#[tokio::test]
            async fn $name() {
                super::$name($crate::support::Stage::embedded()).await;
            })+
        }
        mod on_etcd {
            $(#[tokio::test]
            async fn $name() {
                super::$name($crate::support::Stage::etcd().await).await;
            })+
        }
    };
}
pub(crate) use on_every_store;

/// A client of its own, as another process would have.
pub(crate) async fn connect(config: berth_store::etcd::EtcdConfig) -> Arc<Etcd> {
    eventually("etcd lets a client in", || {
        let config = config.clone();
        async move { Etcd::connect(config).await.ok() }
    })
    .await
}
