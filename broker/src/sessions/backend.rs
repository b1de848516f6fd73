//! What the Connect dialect asks of the broker.

use std::sync::Arc;

use async_trait::async_trait;
use berth_core::ids::SessionId;
use berth_core::lineage::{LineageEntry, Payload};
use berth_core::record::{Cause, CloseReason, SessionRecord};
use bytes::Bytes;

use super::{Sessions, lock, stopping};
use crate::dialects::connect::backend::{Backend, Ended, Intent, Refusal, Route, Ticket, Wanted};

#[async_trait]
impl Backend for Sessions {
    fn serves(&self, session: SessionId) -> bool {
        lock(&self.served).contains_key(&session)
    }

    fn touch(&self, session: SessionId) {
        self.touches.note(session, true);
    }

    async fn open(&self, wanted: Wanted) -> Result<Route, Refusal> {
        if let Some(served) = self.served(wanted.session) {
            return Ok(served.route);
        }
        let me = self.me.upgrade();
        self.owned(async move {
            let me = me.ok_or_else(stopping)?;
            let turn = me.turn(wanted.session);
            let _turn = turn.lock().await;
            match me.served(wanted.session) {
                Some(served) => Ok(served.route),
                None => me.settle(Some(&wanted), wanted.session, None).await,
            }
        })
        .await
    }

    async fn lost(&self, route: &Route, cause: Cause) -> Result<Route, Refusal> {
        self.left(route.record.id, route.epoch, cause).await
    }

    async fn record(&self, session: SessionId) -> Result<Option<Arc<SessionRecord>>, Refusal> {
        if let Some(served) = self.served(session) {
            return Ok(Some(served.route.record));
        }
        Ok(self.read(session).await?.map(|read| read.record))
    }

    async fn close(&self, session: SessionId, reason: CloseReason, reopen: bool) -> Result<(), Refusal> {
        // Not in the session's turn: whoever is placing it has that, and is told to give up.
        for _ in 0..100 {
            if self.try_close(session, reason, reopen).await? {
                return Ok(());
            }
        }
        Err(Refusal::Unavailable {
            reason: "the session is being changed by others; try again".to_owned(),
        })
    }

    async fn begin(&self, route: &Route, intent: Intent) -> Result<Ticket, Refusal> {
        let id = route.record.id;
        let served = self.served(id).filter(|served| served.route.epoch == route.epoch);
        let moved = || Refusal::Unavailable {
            reason: "the session has just moved; try again".to_owned(),
        };
        self.ledger
            .begin(id, route.epoch, served.ok_or_else(moved)?.revision, intent)
            .await
    }

    async fn finish(&self, ticket: Ticket, ended: Ended) -> Result<(), Refusal> {
        self.ledger.finish(&ticket, ended).await
    }

    async fn recall(&self, session: SessionId, operation: &str) -> Result<Option<LineageEntry>, Refusal> {
        self.ledger.recall(session, operation).await
    }

    async fn payload(&self, payload: &Payload) -> Result<Bytes, Refusal> {
        self.ledger.payload(payload).await
    }

    async fn entries(&self, session: SessionId) -> Result<Vec<LineageEntry>, Refusal> {
        self.ledger.entries(session).await
    }
}
