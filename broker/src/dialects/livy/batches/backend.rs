//! What batches need of the rest of the broker.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use berth_core::ids::{Epoch, SessionId};
use berth_proto::agent::Statement as Reported;
use bytes::Bytes;

use super::Uploads;
use super::lines::Lines;
use crate::dialects::livy::listed::Listed;
use crate::dialects::livy::refusal::Refusal;

/// The place of a batch, on a node that is not lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The session.
    pub session: SessionId,
    /// The epoch of its placement.
    pub epoch: Epoch,
    /// Where the node's agent is reached.
    pub agent: Arc<str>,
    /// The driver there.
    pub driver: String,
}

/// Where a batch is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whereabouts {
    /// It has no record.
    Absent,
    /// A place is being found for it, for this epoch.
    Placing(Epoch),
    /// It is there, unless its driver was lost.
    On(Place),
    /// The node of this epoch is lost.
    Lost(Epoch),
    /// It has been closed.
    Closed,
}

/// Why an agent did not do something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It does not know the batch: of a start, that the place is gone; of a question, that it never was started.
    #[error("the node does not know it")]
    Unknown,
    /// The place was lost before the application was allowed to begin.
    #[error("the place was lost before it began")]
    NeverBegan,
    /// The place was lost, and the application may have run there.
    #[error("the place was lost")]
    Lost,
    /// It does not answer, or not now.
    #[error("the agent does not answer: {0}")]
    Away(String),
    /// It never will.
    #[error("{0}")]
    Refused(String),
}

/// Places and runs, as batches see them.
#[async_trait]
pub trait Places: std::fmt::Debug + Send + Sync + 'static {
    /// Whether such a batch can be had at all.
    ///
    /// # Errors
    /// [`Refusal::Rejected`], which says what to ask for instead.
    fn check(&self, listed: &Listed) -> Result<(), Refusal>;

    /// Writes the batch's record, within the limits of its tenant. Idempotent. Does not wait for a place.
    ///
    /// # Errors
    /// [`Refusal::Rejected`] over a limit, [`Refusal::Unavailable`].
    async fn open(&self, listed: &Listed) -> Result<(), Refusal>;

    /// Where it is, by what is written down. Changes nothing.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`].
    async fn look(&self, session: SessionId) -> Result<Whereabouts, Refusal>;

    /// Finds a place for it: the first, or the next after one that was lost, which is fenced before.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`] when it may work later, another when it never will.
    async fn place(&self, session: SessionId) -> Result<(), Refusal>;

    /// Starts the application, whose files are brought there first. Given again in the same epoch, it is not run
    /// again.
    ///
    /// # Errors
    /// See [`Fault`].
    async fn start(&self, place: &Place, what: &str, uploads: &Uploads) -> Result<(), Fault>;

    /// The run as it is now, or as soon as it has ended within `wait`.
    ///
    /// # Errors
    /// See [`Fault`].
    async fn get(&self, place: &Place, wait: Duration) -> Result<Reported, Fault>;

    /// Asks the application to end.
    ///
    /// # Errors
    /// See [`Fault`].
    async fn cancel(&self, place: &Place) -> Result<(), Fault>;

    /// Gives its place back, with every process there. Idempotent.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`].
    async fn close(&self, session: SessionId) -> Result<(), Refusal>;

    /// The last lines of the log of its place; empty while there is none.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`].
    async fn log(&self, session: SessionId) -> Result<Vec<String>, Refusal>;

    /// As many lines of the log of its place as are wanted; none while there is no place.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`].
    async fn lines(&self, session: SessionId, wanted: Lines) -> Result<Lines, Refusal>;

    /// Keeps a piece of what is too large for an entry, and tells its name.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`].
    async fn keep(&self, piece: Bytes) -> Result<String, Refusal>;

    /// What was kept under a name.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`].
    async fn kept(&self, name: &str) -> Result<Bytes, Refusal>;
}
