//! Keys, entries and transactions in etcd's terms.

use bytes::Bytes;
use etcd_client::{
    Compare as EtcdCompare, CompareOp, DeleteOptions, EventType, KeyValue, PutOptions, Txn as EtcdTxn, TxnOp,
};

use crate::{Compare, Entry, Event, LeaseId, Op, Txn};

/// The configured prefix of all keys.
#[derive(Debug, Clone)]
pub(super) struct Prefix(String);

impl Prefix {
    pub(super) fn new(prefix: String) -> Self {
        Self(prefix)
    }

    /// The key in etcd.
    pub(super) fn full(&self, key: &str) -> String {
        format!("{}{key}", self.0)
    }

    /// The key as callers know it.
    fn relative(&self, full: &[u8]) -> String {
        let full = String::from_utf8_lossy(full);
        full.strip_prefix(&self.0).unwrap_or(&full).to_owned()
    }

    pub(super) fn entry(&self, kv: &KeyValue) -> Entry {
        Entry {
            key: self.relative(kv.key()),
            value: Bytes::copy_from_slice(kv.value()),
            create_revision: kv.create_revision(),
            mod_revision: kv.mod_revision(),
            lease: (kv.lease() != 0).then(|| LeaseId(kv.lease())),
        }
    }

    pub(super) fn event(&self, event: &etcd_client::Event) -> Option<Event> {
        let kv = event.kv()?;
        Some(match event.event_type() {
            EventType::Put => Event::Put(self.entry(kv)),
            EventType::Delete => Event::Delete {
                key: self.relative(kv.key()),
                revision: kv.mod_revision(),
            },
        })
    }

    pub(super) fn txn(&self, txn: Txn) -> EtcdTxn {
        let when: Vec<_> = txn
            .when
            .into_iter()
            .map(|compare| self.compare(compare))
            .collect();
        let then: Vec<_> = txn.then.into_iter().map(|op| self.op(op)).collect();
        EtcdTxn::new().when(when).and_then(then)
    }

    fn compare(&self, compare: Compare) -> EtcdCompare {
        let created = |key: &str, op, revision| EtcdCompare::create_revision(self.full(key), op, revision);
        match compare {
            Compare::Absent(key) => created(&key, CompareOp::Equal, 0),
            Compare::Present(key) => created(&key, CompareOp::Greater, 0),
            // etcd takes an absent key for one of revision 0; no entry has such a revision, so this never holds.
            Compare::ModRevision(key, revision) | Compare::CreateRevision(key, revision) if revision <= 0 => {
                created(&key, CompareOp::Less, 0)
            }
            Compare::ModRevision(key, revision) => {
                EtcdCompare::mod_revision(self.full(&key), CompareOp::Equal, revision)
            }
            Compare::CreateRevision(key, revision) => created(&key, CompareOp::Equal, revision),
        }
    }

    fn op(&self, op: Op) -> TxnOp {
        match op {
            Op::Put { key, value, lease } => {
                let options = lease.map(|LeaseId(id)| PutOptions::new().with_lease(id));
                TxnOp::put(self.full(&key), value, options)
            }
            Op::Delete(key) => TxnOp::delete(self.full(&key), None),
            Op::DeletePrefix(prefix) => {
                TxnOp::delete(self.full(&prefix), Some(DeleteOptions::new().with_prefix()))
            }
        }
    }
}

/// The lease that a transaction attaches to, the first if there are several.
pub(super) fn lease_of(txn: &Txn) -> Option<LeaseId> {
    txn.then.iter().find_map(|op| match op {
        Op::Put { lease, .. } => *lease,
        Op::Delete(_) | Op::DeletePrefix(_) => None,
    })
}

/// The end of the range of keys with `prefix`, as etcd wants it.
pub(super) fn range_end(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    // No end: all keys from the start on.
    vec![0]
}
