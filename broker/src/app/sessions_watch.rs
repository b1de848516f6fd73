//! Tells the sessions what other brokers change.

use std::sync::Arc;

use berth_core::keys;
use berth_core::record::{Record, SessionRecord};
use berth_store::watch::{self, Change};
use berth_store::{Entry, Event, StoreRef};
use futures_util::StreamExt;

use crate::sessions::Sessions;

/// Tells the sessions of every change that others make, for ever.
pub(super) async fn follow(store: StoreRef, sessions: Arc<Sessions>) {
    let mut changes = watch::follow(store, keys::SESSIONS);
    while let Some(change) = changes.next().await {
        match change {
            Change::Snapshot(entries, _) => entries.iter().for_each(|entry| tell(&sessions, entry)),
            Change::Batch(batch) => {
                for event in &batch.events {
                    if let Event::Put(entry) = event {
                        tell(&sessions, entry);
                    }
                }
            }
        }
    }
}

fn tell(sessions: &Sessions, entry: &Entry) {
    match SessionRecord::decode(&entry.key, &entry.value) {
        Ok(record) => sessions.on_change(&record),
        Err(error) => tracing::warn!(%error, "a session's record is not understood"),
    }
}
