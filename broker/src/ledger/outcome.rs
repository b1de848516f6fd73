//! What becomes of an intent: it is claimed, carried on or withdrawn, and concluded once.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use berth_core::ids::{Epoch, SessionId};
use berth_core::keys;
use berth_core::lineage::{LineageEntry, Outcome, Witness};
use berth_core::record::Record;
use berth_store::{Compare, Txn};
use uuid::Uuid;

use super::{Ledger, MAX_RACES, not_written, unavailable};
use crate::commit::{commit, get};
use crate::dialects::connect::backend::{Ended, Refusal, Ticket};

/// Answers up to this size are kept for a client that asks again.
const MAX_ANSWER_BYTES: usize = 16 << 20;

impl Ledger {
    /// Writes the outcome of an intent, unless it has one already.
    ///
    /// # Errors
    /// `Unavailable`; `Closed` when the session's lineage is gone.
    pub async fn finish(&self, ticket: &Ticket, ended: Ended) -> Result<(), Refusal> {
        let outcome = self.outcome(ended).await?;
        let conclude = |entry: LineageEntry| entry.conclude(outcome.clone());
        self.change(ticket.session, ticket.seq, conclude).await.map(drop)
    }

    /// Writes the outcome of an intent, unless it has one already, has left the epoch or waits. True if this did it.
    ///
    /// # Errors
    /// As [`Ledger::finish`].
    pub async fn give_up(&self, ticket: &Ticket, epoch: Epoch, ended: Ended) -> Result<bool, Refusal> {
        let outcome = self.outcome(ended).await?;
        let give_up = |entry: LineageEntry| entry.give_up(epoch, outcome.clone());
        self.change(ticket.session, ticket.seq, give_up).await
    }

    /// Lets an intent that did not begin wait for a driver again. False if somebody else has settled it, or the witness
    /// cannot know.
    ///
    /// # Errors
    /// As [`Ledger::finish`].
    pub async fn put_back(
        &self,
        session: SessionId,
        seq: u64,
        from: Epoch,
        witness: Witness,
    ) -> Result<bool, Refusal> {
        self.change(session, seq, |entry| entry.put_back(from, witness))
            .await
    }

    /// Lets an intent that may begin a second time wait for a driver again. False if somebody else has settled it, or
    /// it has cost enough drivers.
    ///
    /// # Errors
    /// As [`Ledger::finish`].
    pub async fn run_again(&self, session: SessionId, seq: u64, from: Epoch) -> Result<bool, Refusal> {
        self.change(session, seq, |entry| entry.run_again(from)).await
    }

    /// Notes that a broker that did not claim an intent gives it to its driver. False if somebody else has settled it.
    ///
    /// # Errors
    /// As [`Ledger::finish`].
    pub async fn hand_on(&self, session: SessionId, seq: u64, from: Epoch) -> Result<bool, Refusal> {
        self.change(session, seq, |entry| entry.hand_on(from)).await
    }

    /// Gives an intent that waits to the driver of an epoch. False if it does not wait any more.
    ///
    /// # Errors
    /// As [`Ledger::finish`].
    pub async fn claim(&self, session: SessionId, seq: u64, to: Epoch) -> Result<bool, Refusal> {
        let claim = Uuid::new_v4();
        self.change(session, seq, |entry| entry.claim(to, claim)).await
    }

    /// Writes the outcome of an intent that waits for a driver. False if it does not wait any more.
    ///
    /// # Errors
    /// As [`Ledger::finish`].
    pub async fn withdraw(&self, ticket: &Ticket, ended: Ended) -> Result<bool, Refusal> {
        let outcome = self.outcome(ended).await?;
        let withdraw = |entry: LineageEntry| entry.withdraw(outcome.clone());
        self.change(ticket.session, ticket.seq, withdraw).await
    }

    /// Changes an entry unless `next` says that there is nothing to change.
    async fn change(
        &self,
        session: SessionId,
        seq: u64,
        next: impl Fn(LineageEntry) -> Option<LineageEntry>,
    ) -> Result<bool, Refusal> {
        let key = keys::lineage(session, seq);
        for _ in 0..MAX_RACES {
            let stored = get(&self.store, &key).await.map_err(unavailable)?;
            let stored = stored.ok_or(Refusal::Closed)?;
            let entry = LineageEntry::decode(&key, &stored.value).map_err(unavailable)?;
            let Some(entry) = next(entry) else {
                return Ok(false);
            };
            let entry = entry.encode();
            let txn = Txn::new()
                .when(Compare::ModRevision(key.clone(), stored.mod_revision))
                .put(&key, entry.clone());
            let changed = commit(&self.store, txn, (&key, &entry)).await;
            if changed.map_err(not_written)?.is_some() {
                return Ok(true);
            }
        }
        Err(unavailable("an outcome is being written by others; try again"))
    }

    async fn outcome(&self, ended: Ended) -> Result<Outcome, Refusal> {
        Ok(match ended {
            Ended::Succeeded(Some(answer)) if answer.len() <= MAX_ANSWER_BYTES => Outcome::Succeeded {
                answer: Some(self.keep(answer).await?),
            },
            Ended::Succeeded(_) => Outcome::Succeeded { answer: None },
            Ended::Failed(status) => Outcome::Failed {
                code: status.code().into(),
                message: status.message().to_owned(),
                details: BASE64.encode(status.details()),
            },
        })
    }
}
