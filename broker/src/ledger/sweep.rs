//! Removes blobs that no record names any more.
//!
//! A blob is written before the record that names it, so one without a record may be on its way to get one. Writing
//! it makes it young again, also when it was there before; only what has been left alone for long is removed.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use berth_core::keys;
use berth_core::lineage::{LineageEntry, Outcome, Payload};
use berth_core::record::Record;
use futures_util::{StreamExt as _, TryStreamExt as _};

use super::{Ledger, PAGE, unavailable};
use crate::dialects::connect::backend::Refusal;
use crate::dialects::livy::batches::Batch;
use crate::dialects::livy::directory::{Directory, Resource};

/// Blobs that one sweep removes, at most.
const MAX_REMOVED: usize = 10_000;

impl Ledger {
    /// Removes blobs that are older than `age` and in no lineage or batch, and tells how many.
    ///
    /// # Errors
    /// `Unavailable`; what was removed until then stays removed.
    pub(crate) async fn sweep(&self, age: Duration) -> Result<usize, Refusal> {
        let mut old = self.blobs.older_than(age).peekable();
        if Pin::new(&mut old).peek().await.is_none() {
            return Ok(0);
        }
        // What is named after this is written anew before it is named, and so is not old when it is to go.
        let mut named = self.named().await?;
        named.extend(self.named_by_batches().await?);
        let mut removed = 0;
        while removed < MAX_REMOVED
            && let Some(sha256) = old.try_next().await.map_err(unavailable)?
        {
            if !named.contains(&sha256) {
                let was_old = self.blobs.delete_older_than(&sha256, age).await;
                removed += usize::from(was_old.map_err(unavailable)?);
            }
        }
        Ok(removed)
    }

    /// The blobs that all lineages name.
    async fn named(&self) -> Result<BTreeSet<String>, Refusal> {
        let (mut named, mut after) = (BTreeSet::new(), None::<String>);
        loop {
            let listed = self.store.list(keys::LINEAGE, after.as_deref(), PAGE, None);
            let page = listed.await.map_err(unavailable)?;
            for stored in &page.entries {
                // One that cannot be read may name anything: nothing is removed then.
                let entry = LineageEntry::decode(&stored.key, &stored.value).map_err(unavailable)?;
                named.extend(blobs_of(entry));
            }
            after = page.entries.last().map(|entry| entry.key.clone());
            if !page.more {
                return Ok(named);
            }
        }
    }
}

impl Ledger {
    /// The blobs that came with batches, or that their logs are in.
    async fn named_by_batches(&self) -> Result<Vec<String>, Refusal> {
        let directory = Directory::of(Arc::clone(&self.store), Resource::KyuubiBatches);
        let listed = directory.all().await.map_err(unavailable)?;
        let batches = listed.iter().filter_map(|listed| listed.batch.as_ref());
        Ok(batches.flat_map(Batch::blobs).cloned().collect())
    }
}

fn blobs_of(entry: LineageEntry) -> impl Iterator<Item = String> {
    let answer = match entry.outcome {
        Outcome::Succeeded { answer } => answer,
        Outcome::Unknown | Outcome::Failed { .. } => None,
    };
    let kept = [Some(entry.payload), answer].into_iter().flatten();
    let kept = kept.filter_map(|payload| match payload {
        Payload::Blob { sha256, .. } => Some(sha256),
        Payload::Inline(_) => None,
    });
    kept.chain(entry.blobs)
}
