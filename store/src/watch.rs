//! Following a prefix for ever, over lost connections, restarts and compaction.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;

use crate::backoff::Backoff;
use crate::listing::list_all;
use crate::{Batch, Entry, RawWatch, Revision, StoreError, StoreRef};

/// A healthy watch says something every two seconds. Silence of this length means that it is dead.
pub(crate) const SILENCE: Duration = Duration::from_secs(6);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What a follower is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// All there is, at this revision. Comes first, and again after a gap that cannot be filled from history:
    /// whatever the follower knows and does not find here is gone.
    Snapshot(Vec<Entry>, Revision),
    /// What changed next. Without events it says that everything up to its revision is known.
    Batch(Batch),
}

/// Follows the keys with `prefix`: a snapshot, then every change after it, in order and without a gap.
///
/// The stream does not end. While the store is away it is silent; who must know how old its view is measures the
/// time since the last item, which is a few seconds at most while all is well. It is driven by being polled, and
/// buffers nothing itself: who falls too far behind gets a new snapshot. Cancel-safe.
pub fn follow(store: StoreRef, prefix: impl Into<String>) -> BoxStream<'static, Change> {
    let follower = Follower {
        store,
        prefix: prefix.into(),
        known: None,
        watch: None,
        backoff: Backoff::new(FIRST_PAUSE, LONGEST_PAUSE),
    };
    futures_util::stream::unfold(follower, |mut follower| async move {
        let change = follower.next().await;
        Some((change, follower))
    })
    .boxed()
}

struct Follower {
    store: StoreRef,
    prefix: String,
    /// Everything up to this revision was handed out. `None` asks for a snapshot.
    known: Option<Revision>,
    watch: Option<RawWatch>,
    backoff: Backoff,
}

impl Follower {
    async fn next(&mut self) -> Change {
        loop {
            match self.advance().await {
                Ok(change) => return change,
                Err(error) => {
                    self.on_error(&error);
                    self.backoff.pause().await;
                }
            }
        }
    }

    async fn advance(&mut self) -> Result<Change, StoreError> {
        let Some(known) = self.known else {
            let (entries, revision) = list_all(&*self.store, &self.prefix).await?;
            self.known = Some(revision);
            return Ok(Change::Snapshot(entries, revision));
        };
        let watch = match &mut self.watch {
            Some(watch) => watch,
            closed => closed.insert(self.store.watch(&self.prefix, known + 1).await?),
        };
        let batch = next_batch(watch).await?;
        // Only now: a snapshot alone does not prove that watching works again.
        self.backoff.reset();
        self.known = Some(known.max(batch.revision));
        Ok(Change::Batch(batch))
    }

    fn on_error(&mut self, error: &StoreError) {
        self.watch = None;
        let reason = if let StoreError::Compacted { .. } = error {
            self.known = None;
            "compacted"
        } else {
            "failed"
        };
        metrics::counter!("berth_store_watch_restarts_total", "reason" => reason).increment(1);
        if error.is_transient() || reason == "compacted" {
            tracing::debug!(prefix = %self.prefix, %error, "a watch starts over");
        } else {
            tracing::warn!(prefix = %self.prefix, %error, "a watch cannot go on and keeps trying");
        }
    }
}

/// The next batch of a watch, which must not be silent.
pub(crate) async fn next_batch(watch: &mut RawWatch) -> Result<Batch, StoreError> {
    let dead = |reason: String| StoreError::Unavailable { reason };
    match tokio::time::timeout(SILENCE, watch.next()).await {
        Ok(Some(batch)) => batch,
        Ok(None) => Err(dead("the watch ended".to_owned())),
        Err(elapsed) => Err(dead(format!("the watch was silent for {SILENCE:?}: {elapsed}"))),
    }
}
