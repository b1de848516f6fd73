//! Leaves sessions that this broker could not place to whoever is asked for them next.
//!
//! A session whose record says that a living broker is placing it is that broker's: no other goes on with it. So
//! whatever ends a placing here, the record must not stay so.

use std::time::Duration;

use berth_core::ids::SessionId;
use berth_core::record::{SessionRecord, SessionState};
use berth_core::session::let_go;
use berth_runtime::clock::unix_millis;

use super::{Read, Sessions, lock};
use crate::dialects::connect::backend::Refusal;

/// A pause while the store is away.
const PAUSE: Duration = Duration::from_secs(1);
/// Tries until it is given up: each waits for the store for a while, too.
const MAX_TRIES: u32 = 600;

impl Sessions {
    /// Leaves a session that could not be placed to whoever is asked for it next. When this broker is asked again, it
    /// goes on by itself.
    pub(super) async fn let_go(&self, read: &Read) -> Result<(), Refusal> {
        let record = SessionRecord::clone(&read.record);
        let epoch = record.epoch;
        match let_go(record, epoch, unix_millis()) {
            Ok(next) => self.advance(read, next).await.map(drop),
            Err(_moved_on) => Ok(()),
        }
    }

    /// Does so for a session whose placing has ended here, whatever its record says by now, as soon as the store
    /// takes it.
    pub(crate) fn let_go_later(&self, id: SessionId) {
        let Some(me) = self.me.upgrade().filter(|me| lock(&me.leaving).insert(id)) else {
            return;
        };
        let stopping = self.tasks.shutdown().clone();
        self.tasks.spawn("let go", async move {
            tokio::select! {
                () = me.let_go_in_turn(id) => {}
                // Its lease goes, and others go on.
                () = stopping.draining() => {}
            }
            lock(&me.leaving).remove(&id);
        });
    }

    async fn let_go_in_turn(&self, id: SessionId) {
        for _ in 0..MAX_TRIES {
            let turn = self.turn(id);
            // Nobody here is placing it now.
            let in_turn = turn.lock().await;
            match self.let_go_of(id).await {
                Ok(()) => return,
                Err(error) => tracing::debug!(session.id = %id, %error, "a session is still this broker's"),
            }
            drop(in_turn);
            tokio::time::sleep(PAUSE).await;
        }
        tracing::warn!(session.id = %id, "a session stays with this broker");
    }

    async fn let_go_of(&self, id: SessionId) -> Result<(), Refusal> {
        match self.read(id).await? {
            Some(read) if self.is_placing(&read.record) => self.let_go(&read).await,
            Some(_) | None => Ok(()),
        }
    }

    fn is_placing(&self, record: &SessionRecord) -> bool {
        matches!(&record.state, SessionState::Placing { broker, .. } if *broker == self.id)
    }
}
