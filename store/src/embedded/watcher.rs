//! Watches over the published state.

use std::sync::{Arc, RwLock};
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::watch;

use super::read;
use super::state::State;
use crate::{Batch, RawWatch, Revision, StoreError};

/// How often a quiet watch says that it is alive.
const PROGRESS: Duration = Duration::from_secs(2);

struct Watcher {
    state: Arc<RwLock<State>>,
    published: watch::Receiver<Revision>,
    prefix: String,
    next: Revision,
    ended: bool,
}

/// A stream of the changes from `from` on. It keeps nothing but its position: a slow reader is told `Compacted`.
pub(super) fn watch(
    state: Arc<RwLock<State>>,
    published: watch::Receiver<Revision>,
    prefix: String,
    from: Revision,
) -> RawWatch {
    let watcher = Watcher {
        state,
        published,
        prefix,
        next: from,
        ended: false,
    };
    futures_util::stream::unfold(watcher, |mut watcher| async move {
        if watcher.ended {
            return None;
        }
        let batch = watcher.next().await;
        watcher.ended = batch.is_err();
        Some((batch, watcher))
    })
    .boxed()
}

impl Watcher {
    async fn next(&mut self) -> Result<Batch, StoreError> {
        let deadline = tokio::time::Instant::now() + PROGRESS;
        loop {
            self.published.borrow_and_update();
            let batch = read(&self.state).changes(&self.prefix, self.next)?;
            self.next = self.next.max(batch.revision + 1);
            if !batch.events.is_empty() {
                return Ok(batch);
            }
            match tokio::time::timeout_at(deadline, self.published.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(closed)) => {
                    return Err(StoreError::Unavailable {
                        reason: closed.to_string(),
                    });
                }
                Err(tokio::time::error::Elapsed { .. }) => return Ok(batch),
            }
        }
    }
}
