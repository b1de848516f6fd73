//! What the directory has of batches alone.

use berth_core::ids::SessionId;
use berth_core::record::{FORMAT, Record as _};
use berth_store::{Compare, Txn};

use super::{Directory, Number, number_in};
use crate::dialects::livy::listed::Listed;
use crate::dialects::livy::refusal::Refusal;

impl Directory {
    /// The line with which a client goes on that only asks for more of a batch's log.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`].
    pub async fn next_line(&self, listed: &Listed) -> Result<usize, Refusal> {
        let stored = self.store.get(&self.resource.read_key(listed.number)).await?;
        let number = number_in(stored.as_ref())?;
        Ok(usize::try_from(number).unwrap_or(usize::MAX))
    }

    /// Keeps that line, for whichever broker is asked next, as long as the batch is listed.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`].
    pub async fn keep_next_line(&self, listed: &Listed, line: usize) -> Result<(), Refusal> {
        let number = u32::try_from(line).unwrap_or(u32::MAX);
        let next = Number {
            format: FORMAT,
            number,
        };
        let txn = Txn::new()
            .when(Compare::Present(self.resource.id_key(listed.number)))
            .put(self.resource.read_key(listed.number), next.encode());
        self.store.txn(txn).await?;
        Ok(())
    }

    /// Batches that were submitted before a time in Unix milliseconds, are not over, and whose session is not open:
    /// their broker may have died before it began them. Whoever follows them begins or ends them.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`].
    pub async fn forsaken(
        &self,
        before: u64,
        has_open: impl Fn(SessionId) -> bool,
    ) -> Result<Vec<Listed>, Refusal> {
        let mut forsaken = self.all().await?;
        forsaken.retain(|listed| {
            let is_running = listed.batch.is_some() && !listed.is_over();
            is_running && listed.opened_at() < before && !has_open(listed.session)
        });
        Ok(forsaken)
    }
}
