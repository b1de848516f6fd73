//! Tells the sessions what other brokers change.

use std::collections::BTreeSet;
use std::sync::Arc;

use berth_core::ids::SessionId;
use berth_core::keys;
use berth_core::record::{Record, SessionRecord};
use berth_store::watch::{self, Change};
use berth_store::{Entry, Event, StoreRef};
use futures_util::StreamExt;
use tokio::sync::broadcast::error::RecvError;

use crate::fleet::{Fleet, Loss};
use crate::sessions::Sessions;

/// Tells the sessions of every change, this broker's own among them, for ever.
pub(super) async fn follow(store: StoreRef, sessions: Arc<Sessions>) {
    let mut changes = watch::follow(store, keys::SESSIONS);
    while let Some(change) = changes.next().await {
        match change {
            Change::Snapshot(entries, _) => {
                let ids: BTreeSet<SessionId> = entries.iter().filter_map(|entry| id_of(&entry.key)).collect();
                for gone in sessions.table().without(&ids) {
                    sessions.on_delete(gone);
                }
                entries.iter().for_each(|entry| tell(&sessions, entry));
            }
            Change::Batch(batch) => batch.events.iter().for_each(|event| match event {
                Event::Put(entry) => tell(&sessions, entry),
                Event::Delete { key, .. } => {
                    if let Some(gone) = id_of(key) {
                        sessions.on_delete(gone);
                    }
                }
            }),
        }
    }
}

/// Tells the sessions of drivers that their agents have lost, for ever.
pub(super) async fn follow_losses(fleet: Arc<Fleet>, sessions: Arc<Sessions>) {
    let mut losses = fleet.losses();
    loop {
        match losses.recv().await {
            Ok(Loss::Drivers(drivers)) => {
                let drivers = drivers.iter().filter_map(|id| id.parse().ok()).collect();
                sessions.on_lost_drivers(&drivers);
            }
            // Routes end with their node by themselves; what was missed is found when it is used.
            Ok(Loss::Node(_)) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

fn id_of(key: &str) -> Option<SessionId> {
    key.strip_prefix(keys::SESSIONS)?.parse().ok()
}

fn tell(sessions: &Sessions, entry: &Entry) {
    match SessionRecord::decode(&entry.key, &entry.value) {
        Ok(record) => sessions.on_change(&record, entry.mod_revision),
        Err(error) => tracing::warn!(%error, "a session's record is not understood"),
    }
}
