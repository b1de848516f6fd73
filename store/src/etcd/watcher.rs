//! A watch on etcd that notices when it is dead.
//!
//! A watch of the client library stays open and silent when its member is gone. This one asks for progress every
//! two seconds; whoever does not answer that is dead.

use std::time::Duration;

use etcd_client::{WatchOptions, WatchRequestSender, WatchResponse, WatchResponseStream};
use futures_util::StreamExt;
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tonic::Status;

use super::convert::Prefix;
use super::fault::Fault;
use super::members::Clients;
use crate::watch::SILENCE;
use crate::{Batch, Event, RawWatch, Revision, StoreError};

/// How often progress is asked for.
const PROGRESS: Duration = Duration::from_secs(2);

/// An open watch.
pub(super) struct Watcher {
    prefix: Prefix,
    requests: WatchRequestSender,
    responses: WatchResponseStream,
    /// All events up to this revision have been handed out.
    delivered: Revision,
    ticks: Interval,
    ended: bool,
}

impl Watcher {
    /// Opens a watch from `from` and waits until etcd has said that it is there.
    pub(super) async fn open(
        mut clients: Clients,
        prefix: Prefix,
        watched: String,
        from: Revision,
    ) -> Result<Self, etcd_client::Error> {
        let options = WatchOptions::new()
            .with_prefix()
            .with_start_revision(from)
            // Ordered with the events, but sent only every ten minutes: see `on_response`.
            .with_progress_notify();
        let stream = clients.watch.watch(watched, Some(options)).await?;
        let (requests, mut responses) = stream.split();
        check_created(responses.message().await?)?;
        let mut ticks = tokio::time::interval_at(Instant::now() + PROGRESS, PROGRESS);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self {
            prefix,
            requests,
            responses,
            delivered: from - 1,
            ticks,
            ended: false,
        })
    }

    /// The batches, up to and including the first error.
    pub(super) fn stream(self) -> RawWatch {
        futures_util::stream::unfold(self, |mut watcher| async move {
            if watcher.ended {
                return None;
            }
            let batch = watcher.next().await;
            watcher.ended = batch.is_err();
            Some((batch, watcher))
        })
        .boxed()
    }

    async fn next(&mut self) -> Result<Batch, StoreError> {
        // From here, not from the last response: a reader that was busy elsewhere has asked for nothing meanwhile.
        let deadline = Instant::now() + SILENCE;
        loop {
            tokio::select! {
                response = self.responses.message() => {
                    match response {
                        Ok(Some(response)) => return self.on_response(&response),
                        Ok(None) => return Err(dead("etcd closed the watch".to_owned())),
                        Err(error) => return Err(self.on_fault(Fault::from(error))),
                    }
                }
                _ = self.ticks.tick() => {
                    if self.requests.request_progress().await.is_err() {
                        return Err(dead("the watch's connection is closed".to_owned()));
                    }
                }
                () = tokio::time::sleep_until(deadline) => {
                    return Err(dead(format!("the watch was silent for {SILENCE:?}")));
                }
            }
        }
    }

    fn on_response(&mut self, response: &WatchResponse) -> Result<Batch, StoreError> {
        let wanted = self.delivered + 1;
        if response.compact_revision() > 0 {
            let oldest = response.compact_revision();
            return Err(StoreError::Compacted { wanted, oldest });
        }
        if response.canceled() {
            return Err(cancelled(response.cancel_reason()));
        }
        let revision = response.header().map_or(0, etcd_client::ResponseHeader::revision);
        let events: Vec<_> = response
            .events()
            .iter()
            .filter_map(|event| self.prefix.event(event))
            .collect();
        if events.is_empty() {
            self.on_progress(response.watch_id(), revision)?;
        }
        self.delivered = events
            .last()
            .map_or(self.delivered, revision_of)
            .max(self.delivered);
        Ok(Batch {
            events,
            revision: self.delivered,
        })
    }

    /// An answer to a request for progress may overtake events (etcd before 3.4.25): it proves life, but not how far
    /// the events have come. The one that etcd sends by itself, to this watch, is in order with them.
    fn on_progress(&mut self, watch_id: i64, revision: Revision) -> Result<(), StoreError> {
        if revision < self.delivered {
            // etcd was restored from a backup: what comes next was perhaps seen, or never.
            return Err(StoreError::Compacted {
                wanted: self.delivered + 1,
                oldest: revision,
            });
        }
        if watch_id >= 0 {
            self.delivered = revision;
        }
        Ok(())
    }

    fn on_fault(&self, fault: Fault) -> StoreError {
        let wanted = self.delivered + 1;
        match fault {
            // It would come again after each resumption; a listing in pages gets past it.
            Fault::TooLarge(_) => StoreError::Compacted {
                wanted,
                oldest: wanted + 1,
            },
            other => other.of_history(wanted),
        }
    }
}

/// The client library hands out a watch before etcd has said anything about it.
fn check_created(first: Option<WatchResponse>) -> Result<(), etcd_client::Error> {
    let Some(first) = first else {
        return Err(Status::unavailable("etcd closed the watch at once").into());
    };
    if first.compact_revision() > 0 {
        return Err(Status::out_of_range("the watch's first revision has been compacted").into());
    }
    if first.canceled() {
        let reason = first.cancel_reason();
        return Err(match cancelled(reason) {
            StoreError::Denied { reason } => Status::permission_denied(reason),
            other => Status::unavailable(other.to_string()),
        }
        .into());
    }
    if !first.created() {
        return Err(Status::unavailable("etcd did not say that the watch is there").into());
    }
    Ok(())
}

fn revision_of(event: &Event) -> Revision {
    match event {
        Event::Put(entry) => entry.mod_revision,
        Event::Delete { revision, .. } => *revision,
    }
}

fn cancelled(reason: &str) -> StoreError {
    let reason = format!("etcd cancelled the watch: {reason}");
    if reason.contains("permission denied") {
        return StoreError::Denied { reason };
    }
    dead(reason)
}

fn dead(reason: String) -> StoreError {
    StoreError::Unavailable { reason }
}
