//! What the dialect needs of the rest of the broker.

use std::time::Duration;

use async_trait::async_trait;
use berth_core::ids::{Epoch, SessionId};
use berth_core::lineage::Witness;
use berth_core::record::{Application, UnixMillis};
use berth_proto::agent::Statement as Reported;
use bytes::Bytes;
use uuid::Uuid;

use super::kind::Kind;
use super::listed::Listed;
use super::recovery::Happened;
use super::refusal::Refusal;
use super::retention::Page;
use super::statement::{End, Intent, Statement};

/// A session's place in one epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seat {
    /// The session.
    pub session: SessionId,
    /// The epoch of its placement.
    pub epoch: Epoch,
}

/// What was made durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numbered {
    /// Its place in the session's lineage, from 0.
    pub id: u64,
    /// Its number among those of its task: rising, without gaps, never reused.
    pub number: u64,
}

/// How far a session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It has no record yet.
    Absent,
    /// It is being placed for the first time.
    Placing,
    /// It lost its driver and is being rebuilt.
    Recovering,
    /// It serves.
    Active,
    /// It has ended.
    Closed,
}

/// How many statements and jobs of a session have not ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Open {
    /// Those that a driver was given, by whichever broker.
    pub given: usize,
    /// Those that wait for being given to one.
    pub waits: usize,
}

impl Open {
    /// All of them.
    pub const fn count(self) -> usize {
        self.given + self.waits
    }
}

/// A statement or job that a driver was given and that has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Given {
    /// Its place in the session's lineage, from 0.
    pub id: u64,
    /// The epoch of that driver.
    pub epoch: Epoch,
}

/// What of a session has not ended.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Queue {
    /// What a driver was given, in order.
    pub given: Vec<Given>,
    /// How many wait.
    pub waits: usize,
    /// The first of those that wait, in order.
    pub next: Vec<Statement>,
}

/// Why a driver did not do something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DriverFault {
    /// The session is not there any more. Nobody knows what became of the statement.
    #[error("the session's driver was lost")]
    Lost,
    /// The session is not there any more, and its agent says that the statement did not begin there.
    #[error("the session's driver was lost before the statement began")]
    NeverBegan,
    /// This start brought the statement to no agent. An earlier one, or another broker's, may have.
    #[error("the session has just moved")]
    NotSent,
    /// The driver serves the session but never heard of the statement.
    #[error("the session's driver does not know the statement")]
    NoStatement,
    /// The agent refuses: it has not done it.
    #[error("{0}")]
    Refused(String),
    /// The agent does not answer. It may have done it, and knows what it was asked when it is asked again.
    #[error("{0}")]
    Silent(String),
}

/// Sessions, lineage and drivers, as the dialect sees them.
#[async_trait]
pub trait Backend: std::fmt::Debug + Send + Sync + 'static {
    /// Whether such a session can be had at all.
    ///
    /// # Errors
    /// [`Refusal::Rejected`], which says what to ask for instead.
    fn check(&self, listed: &Listed) -> Result<(), Refusal>;

    /// Waits, bounded, for the place of a session; opens it if it has no record.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`] when it may work later, another when it never will.
    async fn seat(&self, listed: &Listed) -> Result<Seat, Refusal>;

    /// Remembers that a client has called for a session now, and with `used` that this counts as use. What is
    /// remembered reaches whoever ends sessions within seconds, whichever broker that is.
    fn touch(&self, session: SessionId, used: bool);

    /// How far a session is. Never waits for a placement.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`].
    async fn phase(&self, session: SessionId) -> Result<Phase, Refusal>;

    /// The application that a session's driver is; `None` while it has none.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`].
    async fn application(&self, session: SessionId) -> Result<Option<Application>, Refusal>;

    /// Since when the session is at its present place; `None` while it has none.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`].
    async fn placed_at(&self, session: SessionId) -> Result<Option<UnixMillis>, Refusal>;

    /// Reports that a place is gone and waits, bounded, for the next one.
    ///
    /// # Errors
    /// As [`Backend::seat`].
    async fn lost(&self, seat: Seat) -> Result<Seat, Refusal>;

    /// Ends a session with everything it has. Idempotent.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`].
    async fn close(&self, session: SessionId) -> Result<(), Refusal>;

    /// Makes a statement durable and gives it its ids. `None` when one of the same operation is there.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`]: nothing will run.
    async fn begin(&self, seat: Seat, operation: Uuid, intent: &Intent) -> Result<Option<Numbered>, Refusal>;

    /// The statement of an operation.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`].
    async fn recall(&self, session: SessionId, operation: Uuid) -> Result<Option<Statement>, Refusal>;

    /// True if a session has had a statement of this number, whoever took it.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`].
    async fn has_had(&self, session: SessionId, number: u64) -> Result<bool, Refusal>;

    /// What happened to a session, oldest first; empty while it has no record.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`].
    async fn history(&self, session: SessionId) -> Result<Vec<Happened>, Refusal>;

    /// As [`Backend::begin`], whether the session has a driver or not, in the epoch that is told. It waits, and must
    /// be claimed before it is given to a driver.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`]: nothing will run.
    async fn enlist(
        &self,
        session: SessionId,
        operation: Uuid,
        intent: &Intent,
    ) -> Result<Option<(Numbered, Epoch)>, Refusal>;

    /// What has not ended; of what waits as much as can be given with no more than `most` there.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`].
    async fn queue(&self, session: SessionId, most: usize) -> Result<Queue, Refusal>;

    /// Claims what waits for a seat. False if it does not wait any more.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`].
    async fn claim(&self, seat: Seat, id: u64) -> Result<bool, Refusal>;

    /// Makes the end of what waits durable. False if it does not wait any more.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`].
    async fn withdraw(&self, session: SessionId, id: u64, end: &End) -> Result<bool, Refusal>;

    /// Keeps a piece of a file that an intent will name, and gives its hash.
    ///
    /// # Errors
    /// [`Refusal::Rejected`] when there is no room, [`Refusal::Unavailable`].
    async fn keep(&self, piece: Bytes) -> Result<String, Refusal>;

    /// Makes a statement's end durable. The first end stays.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`].
    async fn finish(&self, session: SessionId, id: u64, end: &End) -> Result<(), Refusal>;

    /// Makes the end of a statement durable that was lost with its epoch's driver, unless somebody has ended it or
    /// carried it on to another epoch. True if this did it.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`].
    async fn give_up(
        &self,
        session: SessionId,
        (id, epoch): (u64, Epoch),
        end: &End,
    ) -> Result<bool, Refusal>;

    /// Lets a statement that did not begin in the epoch `from` wait for a driver again. False if somebody else has
    /// settled it, or the witness cannot know.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`].
    async fn put_back(
        &self,
        session: SessionId,
        (id, from): (u64, Epoch),
        witness: Witness,
    ) -> Result<bool, Refusal>;

    /// Lets a statement that may run a second time wait for a driver again. False if somebody else has settled it, or
    /// it has cost enough drivers.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`].
    async fn run_again(&self, session: SessionId, (id, from): (u64, Epoch)) -> Result<bool, Refusal>;

    /// Notes that a statement that another broker has claimed is given to its driver here, too. False if somebody else
    /// has settled it.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`].
    async fn hand_on(&self, seat: Seat, id: u64) -> Result<bool, Refusal>;

    /// How many statements and jobs of the session have not ended.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`].
    async fn unfinished(&self, session: SessionId) -> Result<Open, Refusal>;

    /// One statement of a session, by its number.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`].
    async fn statement(&self, session: SessionId, number: u64) -> Result<Option<Statement>, Refusal>;

    /// One statement or job of a session, by its place.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`].
    async fn at(&self, session: SessionId, id: u64) -> Result<Option<Statement>, Refusal>;

    /// One job of a session, by its number.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`].
    async fn job(&self, session: SessionId, number: u64) -> Result<Option<Statement>, Refusal>;

    /// How many statements of a session there are to be seen, and those on a page. Only these are read.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`].
    async fn statements(&self, session: SessionId, page: Page) -> Result<(usize, Vec<Statement>), Refusal>;

    /// The statements of a session that have not ended, in order.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`].
    async fn open_statements(&self, session: SessionId) -> Result<Vec<Statement>, Refusal>;

    /// Gives a statement to the driver. Given again in the same epoch, it is not run again.
    ///
    /// # Errors
    /// See [`DriverFault`].
    async fn start(&self, seat: Seat, id: u64, intent: &Intent) -> Result<Reported, DriverFault>;

    /// A statement as it is now, or as soon as it has ended within `wait`. Of an epoch that is over the agent of the
    /// session's present place is asked, which knows if that epoch was its own.
    ///
    /// # Errors
    /// See [`DriverFault`].
    async fn get(&self, seat: Seat, id: u64, wait: Duration) -> Result<Reported, DriverFault>;

    /// Asks a statement to stop.
    ///
    /// # Errors
    /// See [`DriverFault`].
    async fn cancel(&self, seat: Seat, id: u64) -> Result<(), DriverFault>;

    /// Candidates to complete code with.
    ///
    /// # Errors
    /// See [`DriverFault`].
    async fn complete(
        &self,
        seat: Seat,
        kind: Kind,
        code: &str,
        cursor: u32,
    ) -> Result<Vec<String>, DriverFault>;

    /// The last lines of the log of the session's driver; empty while there is none.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`].
    async fn log(&self, session: SessionId) -> Result<Vec<String>, Refusal>;
}
