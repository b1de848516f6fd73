//! What no store takes, so that what runs on this one runs on etcd too.

use std::collections::BTreeSet;

use crate::{Op, StoreError, Txn};

/// Refuses a transaction that sets a key and changes it once more.
pub(super) fn check(txn: &Txn) -> Result<(), StoreError> {
    let mut set = BTreeSet::new();
    for op in &txn.then {
        if let Op::Put { key, .. } = op
            && !set.insert(key.as_str())
        {
            return Err(twice(key));
        }
    }
    for op in &txn.then {
        let again = match op {
            Op::Put { .. } => None,
            Op::Delete(key) => set.get(key.as_str()),
            Op::DeletePrefix(prefix) => {
                let first = set.range(prefix.as_str()..).next();
                first.filter(|key| key.starts_with(prefix.as_str()))
            }
        };
        if let Some(key) = again {
            return Err(twice(key));
        }
    }
    Ok(())
}

fn twice(key: &str) -> StoreError {
    StoreError::Exhausted {
        reason: format!("the transaction changes {key} twice"),
    }
}
