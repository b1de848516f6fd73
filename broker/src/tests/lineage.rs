//! The lineage in the store: what several brokers write to it, and what is removed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use berth_core::ids::{Epoch, SessionId};
use berth_core::keys;
use berth_core::lineage::compact::Room;
use berth_core::lineage::{Class, LineageEntry, Outcome, Payload};
use berth_core::record::Record;
use berth_store::blobs::Blobs;
use berth_store::{Txn, TxnOutcome};
use bytes::Bytes;
use uuid::Uuid;

use super::Cluster;
use crate::dialects::connect::backend::{Ended, Intent};
use crate::ledger::Ledger;

fn conf_set(session: SessionId, seq: u64) -> LineageEntry {
    LineageEntry {
        format: LineageEntry::FORMAT,
        session,
        seq,
        epoch: Epoch::INITIAL,
        operation: format!("op-{seq}"),
        alias: String::new(),
        class: Class::State,
        call: "config".to_owned(),
        what: "set a".to_owned(),
        key: "conf:a".to_owned(),
        payload: Payload::Inline(String::new()),
        blobs: Vec::new(),
        fingerprint: 0,
        outcome: Outcome::Succeeded { answer: None },
        waits: false,
        reruns: 0,
        claim: None,
        handed_on: false,
        at: 0,
    }
}

/// What is not needed goes, with what its operations are found by; the rest can be appended to as before.
#[tokio::test]
async fn i8_a_lineage_is_compacted_in_the_store() {
    let cluster = Cluster::new();
    let ledger = ledger(&cluster);
    let session = SessionId::for_connect("u", Uuid::from_u128(1));
    for seq in 1..=120 {
        let entry = conf_set(session, seq);
        let txn = Txn::new()
            .put(keys::lineage(session, seq), entry.encode())
            .put(keys::operation(session, &entry.operation), seq.to_string());
        cluster.store.txn(txn).await.unwrap();
    }
    assert_eq!(ledger.compact(session, Room::Enough).await.unwrap(), 119);
    let left = ledger.entries(session).await.unwrap();
    assert_eq!(left.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [120]);
    assert!(ledger.recall(session, "op-7").await.unwrap().is_none());
    assert!(ledger.recall(session, "op-120").await.unwrap().is_some());
}

fn ledger(cluster: &Cluster) -> Ledger {
    let blobs = Blobs::directory(&cluster.dir.path().join("blobs")).unwrap();
    Ledger::new(Arc::clone(&cluster.store), blobs, 1000)
}

fn intent(operation: &str) -> Intent {
    let entry = conf_set(SessionId::for_connect("u", Uuid::from_u128(1)), 1);
    Intent {
        operation: operation.to_owned(),
        alias: String::new(),
        class: entry.class,
        call: entry.call,
        what: entry.what,
        key: entry.key,
        payload: Bytes::new(),
        blobs: Vec::new(),
        fingerprint: 0,
    }
}

/// A broker that knew where a lineage ended before others went on with it and compacted it writes at its end all the
/// same: the places between are free, but older than what is there.
#[tokio::test]
async fn i2_an_entry_never_takes_a_place_that_compaction_has_freed() {
    let cluster = Cluster::new();
    let (a, b) = (ledger(&cluster), ledger(&cluster));
    let session = SessionId::for_connect("u", Uuid::from_u128(1));
    let record = Txn::new().put(keys::session(session), "{}");
    let TxnOutcome::Done(revision) = cluster.store.txn(record).await.unwrap() else {
        panic!("nothing can conflict");
    };
    let begin = async |ledger: &Ledger, operation: &str| {
        let ticket = ledger
            .begin(session, Epoch::INITIAL, revision, intent(operation))
            .await
            .unwrap();
        ledger.finish(&ticket, Ended::Succeeded(None)).await.unwrap();
        ticket.seq
    };
    assert_eq!(begin(&a, "op-1").await, 1);
    for seq in 2..6 {
        assert_eq!(begin(&b, &format!("op-{seq}")).await, seq);
    }
    assert_eq!(b.compact(session, Room::Short).await.unwrap(), 4);
    assert_eq!(begin(&a, "op-6").await, 6);
    assert_eq!(begin(&b, "op-7").await, 7);
}

/// I3: two claims differ, so that a broker whose store lost the answer does not take another's for its own.
#[tokio::test]
async fn i3_no_two_claims_look_alike() {
    let cluster = Cluster::new();
    let (ledger, session) = (ledger(&cluster), SessionId::for_connect("u", Uuid::from_u128(1)));
    let mut claims = BTreeSet::new();
    for seq in 1..=2 {
        let waiting = LineageEntry {
            outcome: Outcome::Unknown,
            waits: true,
            ..conf_set(session, seq)
        };
        let txn = Txn::new().put(keys::lineage(session, seq), waiting.encode());
        cluster.store.txn(txn).await.unwrap();
        assert!(ledger.claim(session, seq, Epoch::INITIAL).await.unwrap());
        claims.insert(ledger.entry(session, seq).await.unwrap().unwrap().claim);
    }
    assert!(claims.len() == 2 && !claims.contains(&None));
}

/// Blobs that a lineage names stay, and so do young ones: their record may be on its way.
#[tokio::test]
async fn i2_i8_only_old_blobs_that_nothing_names_are_removed() {
    let cluster = Cluster::new();
    let blobs = Blobs::directory(&cluster.dir.path().join("blobs")).unwrap();
    let ledger = Ledger::new(Arc::clone(&cluster.store), blobs.clone(), 1000);
    let session = SessionId::for_connect("u", Uuid::from_u128(1));
    let mut named = Vec::new();
    for content in ["request", "answer", "nobody's", "upload"] {
        named.push(blobs.put(content.into()).await.unwrap());
    }
    let blob = |n: usize| Payload::Blob {
        sha256: named[n].clone(),
        len: 7,
    };
    let entry = LineageEntry {
        payload: blob(0),
        outcome: Outcome::Succeeded {
            answer: Some(blob(1)),
        },
        blobs: vec![named[3].clone()],
        ..conf_set(session, 1)
    };
    let txn = Txn::new().put(keys::lineage(session, 1), entry.encode());
    cluster.store.txn(txn).await.unwrap();

    assert_eq!(ledger.sweep(Duration::from_secs(3600)).await.unwrap(), 0);
    assert_eq!(blobs.get(&named[2]).await.unwrap(), "nobody's");
    assert_eq!(ledger.sweep(Duration::ZERO).await.unwrap(), 1);
    assert_eq!(blobs.get(&named[0]).await.unwrap(), "request");
    assert_eq!(blobs.get(&named[1]).await.unwrap(), "answer");
    assert_eq!(blobs.get(&named[3]).await.unwrap(), "upload");
    assert!(blobs.get(&named[2]).await.is_err());
}
