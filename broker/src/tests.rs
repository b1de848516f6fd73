//! Several brokers on one store: races to open, exact quotas, abandoned placings.

mod code;
mod lineage;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use berth_core::admission::Limits;
use berth_core::ids::{BrokerId, Epoch, SessionId};
use berth_core::keys;
use berth_core::record::{
    BrokerRecord, CloseReason, Dialect, FORMAT, Lifetime, Record, SessionRecord, SessionState, UsageRecord,
    Work,
};
use berth_core::session::take_over;
use berth_runtime::tasks::{Shutdown, Tasks};
use berth_runtime::tls::{TlsFiles, install_provider};
use berth_store::blobs::Blobs;
use berth_store::embedded::Embedded;
use berth_store::{StoreRef, Txn};
use futures_util::future::join_all;
use uuid::Uuid;

use crate::config::BrokerConfig;
use crate::dialects::connect::backend::{Backend, Refusal, Wanted};
use crate::fleet::Fleet;
use crate::ledger::Ledger;
use crate::sessions::Sessions;
use crate::tunnel::Dialer;

struct Cluster {
    store: StoreRef,
    dir: tempfile::TempDir,
}

impl Cluster {
    fn new() -> Self {
        install_provider();
        let dir = tempfile::tempdir().unwrap();
        berth_runtime::certs::make(dir.path(), &["127.0.0.1".to_owned()]).unwrap();
        Self {
            store: Embedded::in_memory(10_000).unwrap(),
            dir,
        }
    }

    async fn broker(&self, name: &str, hold_seconds: u64, sessions: u64) -> Arc<Sessions> {
        let id: BrokerId = name.parse().unwrap();
        let record = BrokerRecord {
            format: FORMAT,
            id: id.clone(),
            admin_address: String::new(),
            kyuubi_url: None,
            started_at: 0,
            version: String::new(),
        };
        self.store
            .txn(Txn::new().put(keys::broker(&id), record.encode()))
            .await
            .unwrap();
        let config = BrokerConfig {
            default_tenant: "t".parse().unwrap(),
            default_profile: "default".parse().unwrap(),
            hold_seconds,
            default_limits: Limits {
                sessions,
                ..Limits::default()
            },
            ..BrokerConfig::default()
        };
        let tls = TlsFiles::of_role(self.dir.path(), "broker").client().unwrap();
        let fleet = Fleet::new(Arc::clone(&self.store), Dialer::new(&tls));
        let blobs = Blobs::directory(&self.dir.path().join("blobs")).unwrap();
        let ledger = Arc::new(Ledger::new(Arc::clone(&self.store), blobs, 1000));
        let tasks = Tasks::new(Shutdown::new());
        Sessions::new(id, config, Arc::clone(&self.store), fleet, ledger, tasks)
    }

    async fn records(&self) -> Vec<SessionRecord> {
        let page = self.store.list(keys::SESSIONS, None, 1000, None).await.unwrap();
        page.entries
            .iter()
            .map(|e| SessionRecord::decode(&e.key, &e.value).unwrap())
            .collect()
    }

    async fn usage(&self) -> u64 {
        let key = keys::usage(&"t".parse().unwrap());
        let entry = self.store.get(&key).await.unwrap();
        entry.map_or(0, |e| UsageRecord::decode(&key, &e.value).unwrap().sessions)
    }
}

fn wanted(client: Uuid) -> Wanted {
    Wanted {
        session: SessionId::for_connect("u", client),
        owner: "u".to_owned(),
        tenant: None,
        dialect: Dialect::Connect,
        work: Work::Session,
        client_id: client.to_string(),
        name: None,
        profile: None,
        confs: BTreeMap::new(),
        memory_bytes: None,
        lifetime: Lifetime::default(),
        share: None,
        is_bound: false,
        was_open: false,
    }
}

#[tokio::test]
async fn i5_twenty_concurrent_opens_at_limit_five_leave_exactly_five() {
    let cluster = Cluster::new();
    let (a, b) = (cluster.broker("a", 1, 5).await, cluster.broker("b", 1, 5).await);
    let opens = (0..20).map(|n| {
        let broker = if n % 2 == 0 {
            Arc::clone(&a)
        } else {
            Arc::clone(&b)
        };
        async move { broker.open(wanted(Uuid::from_u128(n + 1))).await.unwrap_err() }
    });
    let refusals = join_all(opens).await;
    let quota = refusals
        .iter()
        .filter(|r| matches!(r, Refusal::Quota { .. }))
        .count();
    assert_eq!(
        (cluster.records().await.len(), cluster.usage().await, quota),
        (5, 5, 15),
        "{refusals:?}"
    );
}

#[tokio::test]
async fn i2_a_session_that_was_open_is_not_made_anew_when_its_record_is_gone() {
    // hs2#41
    let cluster = Cluster::new();
    let broker = cluster.broker("a", 1, 5).await;
    let again = Wanted {
        was_open: true,
        ..wanted(Uuid::from_u128(1))
    };
    assert_eq!(broker.open(again).await.unwrap_err(), Refusal::Closed);
    assert_eq!((cluster.records().await.len(), cluster.usage().await), (0, 0));
}

#[tokio::test]
async fn i4_two_brokers_that_race_to_open_make_one_record() {
    let cluster = Cluster::new();
    let (a, b) = (cluster.broker("a", 1, 5).await, cluster.broker("b", 1, 5).await);
    let id = Uuid::from_u128(7);
    let (_a, _b) = tokio::join!(a.open(wanted(id)), b.open(wanted(id)));
    assert_eq!((cluster.records().await.len(), cluster.usage().await), (1, 1));
}

/// Whatever ended the placing: the record must not say that a broker does it which does not.
#[tokio::test]
async fn a_placing_that_ended_is_nobodys() {
    let cluster = Cluster::new();
    let a = cluster.broker("a", 1, 5).await;
    let id = wanted(Uuid::from_u128(7)).session;
    a.open(wanted(Uuid::from_u128(7))).await.unwrap_err();
    let key = keys::session(id);
    let taken = take_over(cluster.records().await.remove(0), "a".parse().unwrap(), 1).unwrap();
    cluster
        .store
        .txn(Txn::new().put(&key, taken.encode()))
        .await
        .unwrap();
    a.let_go_later(id);
    let is_nobodys = async {
        while !matches!(&cluster.records().await[0].state, SessionState::Placing { broker, .. } if *broker == BrokerId::nobody())
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), is_nobodys)
        .await
        .unwrap();
}

/// The placing goes on without its client; when it is given up, any broker that is asked for the session goes on.
#[tokio::test]
async fn a_client_that_goes_away_while_its_session_is_placed_does_not_strand_it() {
    let cluster = Cluster::new();
    let (a, b) = (cluster.broker("a", 1, 5).await, cluster.broker("b", 60, 5).await);
    let id = Uuid::from_u128(7);
    let left = tokio::time::timeout(Duration::from_millis(100), a.open(wanted(id))).await;
    assert!(left.is_err(), "no node: the call waits until its client goes");
    let taken_over = async {
        loop {
            let record = cluster.records().await.remove(0);
            if matches!(&record.state, SessionState::Placing { broker, .. } if broker.as_str() == "b") {
                return record.epoch;
            }
            tokio::task::yield_now().await;
        }
    };
    let epoch = tokio::select! {
        epoch = tokio::time::timeout(Duration::from_secs(30), taken_over) => epoch.unwrap(),
        refused = b.open(wanted(id)) => panic!("{refused:?}"),
    };
    assert_eq!(epoch, Epoch::INITIAL.next());
}

#[tokio::test]
async fn i5_closing_while_placing_gives_the_permit_back_once() {
    let cluster = Cluster::new();
    let (a, b) = (cluster.broker("a", 1, 5).await, cluster.broker("b", 1, 5).await);
    let id = wanted(Uuid::from_u128(7));
    let session = id.session;
    let _refused = a.open(id).await;
    let (x, y) = tokio::join!(
        a.close(session, CloseReason::Client, false),
        b.close(session, CloseReason::Operator, false)
    );
    x.unwrap();
    y.unwrap();
    assert_eq!(cluster.usage().await, 0);
}
