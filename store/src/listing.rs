//! Whole listings, in pages.

use crate::{Entry, Revision, Store, StoreError};

/// Keys a page: an answer of some 10 MiB at most.
const PAGE: usize = 5_000;
/// Listings begun before giving up: each takes seconds, history is kept for minutes.
const TRIES: usize = 3;

/// Reads all entries with `prefix` as they are at one revision, which it gives too.
///
/// # Errors
/// As [`Store::list`]. `Compacted` only when history is thrown away faster than it can be listed.
pub async fn list_all(store: &dyn Store, prefix: &str) -> Result<(Vec<Entry>, Revision), StoreError> {
    let mut tries = 1;
    loop {
        match list_once(store, prefix).await {
            Err(StoreError::Compacted { .. }) if tries < TRIES => tries += 1,
            other => return other,
        }
    }
}

async fn list_once(store: &dyn Store, prefix: &str) -> Result<(Vec<Entry>, Revision), StoreError> {
    let mut page = store.list(prefix, None, PAGE, None).await?;
    let revision = page.revision;
    let mut entries = std::mem::take(&mut page.entries);
    while page.more {
        let after = entries.last().map(|entry| entry.key.as_str());
        page = store.list(prefix, after, PAGE, Some(revision)).await?;
        entries.append(&mut page.entries);
    }
    Ok((entries, revision))
}
