//! Spark Connect from within the broker: how dialects that run SQL use the sessions and operations of this one.
//!
//! Such a session is a Spark Connect session like any other. What changes its state is recorded, what runs on it is
//! resumed after a loss, and what it was told is told again, by the same rules and the same code.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use berth_core::connect::classify_execute;
use berth_core::ids::SessionId;
use berth_core::lineage::{Class, Outcome};
use berth_core::record::{CloseReason, Dialect, Lifetime, SessionRecord, SessionState};
use berth_core::share;
use berth_core::wire;
use bytes::Bytes;
use tonic::{Code, Status};
use uuid::Uuid;

use super::reattach::recorded_status;
use super::rpc::{Rpc, answer, execute as fields};
use super::session::Call;
use super::stream::Answers;
use super::{Connect, Identity, clone, errors, execute, interrupt};

/// `InterruptRequest.interrupt_type`, and its value for one operation.
const INTERRUPT_TYPE: (u32, u64) = (4, 3);
/// `InterruptRequest.operation_id`.
const INTERRUPT_OPERATION: u32 = 6;

/// A tag of operations that only this broker can read: the driver ends them when it stops reading.
const BOUND_TAG: &str = "berth-broker-bound";

/// What the names of sessions begin with that are one statement's own.
const OF_ONE_STATEMENT: &str = "one statement of ";

/// What a session of another dialect is opened with.
#[derive(Debug, Clone)]
pub(crate) struct Terms {
    /// The dialect.
    pub(crate) dialect: Dialect,
    /// A name for people.
    pub(crate) name: Option<String>,
    /// The profile that its client asked for.
    pub(crate) profile: Option<String>,
    /// Confs that are set on it wherever it lives.
    pub(crate) confs: BTreeMap<String, String>,
    /// When it ends by its client's wish.
    pub(crate) lifetime: Lifetime,
    /// With whom it wants to be on a driver.
    pub(crate) share: Option<share::Asked>,
    /// True where its client can reach it at this broker alone.
    pub(crate) is_bound: bool,
    /// True once it was open: from then on it is not made anew.
    pub(crate) was_open: Arc<AtomicBool>,
}

/// One session, for a dialect that translates.
#[derive(Debug, Clone)]
pub(crate) struct Inside {
    connect: Arc<Connect>,
    call: Call,
}

impl Inside {
    /// The session that `user` calls `client_session`. Nothing is opened yet.
    pub(crate) fn new(
        connect: Arc<Connect>,
        user: &str,
        identity: Option<Identity>,
        client_session: Uuid,
        terms: Terms,
    ) -> Self {
        let call = Call::inside(user, identity, client_session, Arc::new(terms));
        Self { connect, call }
    }

    /// Berth's own id of the session.
    pub(crate) fn id(&self) -> SessionId {
        self.call.session
    }

    /// Notes that its client uses it, by a call that its driver does not see.
    pub(crate) fn touch(&self) {
        self.connect.backend.touch(self.call.session);
    }

    /// True while this broker serves it, as far as it has heard.
    pub(crate) fn is_served(&self) -> bool {
        self.connect.backend.serves(self.call.session)
    }

    /// True if it was open and has ended, wherever that was. Reads the store where this broker does not serve it.
    ///
    /// # Errors
    /// The store is away.
    pub(crate) async fn is_over(&self) -> Result<bool, Status> {
        if !self.call.was_open() {
            return Ok(false);
        }
        let record = self.connect.record_of(&self.call).await?;
        Ok(record.is_none_or(|record| matches!(record.state, SessionState::Closed { .. })))
    }

    /// Opens the session, or waits for its next place, and gives its record.
    ///
    /// # Errors
    /// Why it has no place.
    pub(crate) async fn open(&self) -> Result<Arc<SessionRecord>, Status> {
        Ok(self.connect.route(&self.call).await?.record)
    }

    /// A session of its own for the same user, on the same terms but for how long it may be idle. Nothing is opened yet.
    pub(crate) fn aside(&self, client_session: Uuid, idle: Duration) -> Self {
        Self {
            connect: Arc::clone(&self.connect),
            call: self.call.aside(client_session, idle),
        }
    }

    /// Opens another session, which is new, with the state that this one has now.
    ///
    /// # Errors
    /// There is no place for it, or what made the state could not be read.
    pub(crate) async fn copy_to(&self, other: &Self) -> Result<(), Status> {
        let (connect, from, to) = (Arc::clone(&self.connect), self.call.session, other.call.clone());
        let work = async move { clone::copy(&connect, from, &to).await.map(drop) };
        self.connect.to_end("session copy", work).await?
    }

    /// Executes a serialized `Plan` under this id. The operation stays until [`Inside::release`].
    ///
    /// # Errors
    /// It could not be begun.
    pub(crate) async fn execute(&self, operation: Uuid, plan: &[u8]) -> Result<Results, Status> {
        let mut message = Vec::with_capacity(plan.len() + 80);
        wire::append_bytes(&mut message, fields::PLAN, plan);
        wire::append_string(&mut message, fields::OPERATION_ID, &operation.to_string());
        wire::append_string(&mut message, fields::TAGS, BOUND_TAG);
        let mut reattach = Vec::new();
        wire::append_varint(&mut reattach, fields::REATTACHABLE, 1);
        let mut option = Vec::new();
        wire::append_bytes(&mut option, fields::REATTACH_OPTIONS, &reattach);
        wire::append_bytes(&mut message, fields::REQUEST_OPTIONS, &option);
        let call = self.call.about(Rpc::ExecutePlan, message.into());
        let answers = execute::execute(&self.connect, call).await?;
        Ok(Results {
            inside: self.clone(),
            operation: operation.to_string(),
            class: class_of(plan),
            answers,
            is_complete: false,
        })
    }

    /// Asks an operation to stop. Its results end with an error soon after.
    ///
    /// # Errors
    /// The driver could not be asked.
    pub(crate) async fn interrupt(&self, operation: Uuid) -> Result<(), Status> {
        let mut message = Vec::new();
        wire::append_varint(&mut message, INTERRUPT_TYPE.0, INTERRUPT_TYPE.1);
        wire::append_string(&mut message, INTERRUPT_OPERATION, &operation.to_string());
        let call = self.call.about(Rpc::Interrupt, message.into());
        interrupt::interrupt(&self.connect, call).await.map(drop)
    }

    /// Forgets an operation and whatever is left of its results.
    pub(crate) fn release(&self, operation: Uuid) {
        self.connect.release(self.call.session, &operation.to_string());
    }

    /// Ends the session.
    ///
    /// # Errors
    /// The store's refusal.
    pub(crate) async fn close(&self) -> Result<(), Status> {
        for operation in self.connect.operations.remove_session(self.call.session) {
            operation.outbox.release_all();
        }
        self.connect
            .close(self.call.session, CloseReason::Client, false)
            .await
    }
}

/// The name of the own session of one statement that runs beside `session`.
pub(crate) fn name_aside(session: SessionId) -> String {
    format!("{OF_ONE_STATEMENT}{session}")
}

/// True of a session that is one statement's own: no client knows it.
pub(crate) fn is_aside(record: &SessionRecord) -> bool {
    let name = record.name.as_deref().unwrap_or_default();
    record.bound_to.is_some()
        && name
            .strip_prefix(OF_ONE_STATEMENT)
            .is_some_and(|of| of.parse::<SessionId>().is_ok())
}

/// What an operation answers, message by message.
#[derive(Debug)]
pub(crate) struct Results {
    inside: Inside,
    operation: String,
    class: Option<Class>,
    answers: Answers,
    /// True once the driver has said that nothing follows.
    is_complete: bool,
}

impl Results {
    /// The next `ExecutePlanResponse`; `None` at the end. What was given out is not kept: this reader does not lose
    /// its connection. Cancel-safe.
    ///
    /// A client of Spark Connect comes back after some ends to find out what became of its operation. This one does
    /// it here, so an error that says to try again is never told of a write that may have run.
    pub(crate) async fn next(&mut self) -> Option<Result<Bytes, Status>> {
        self.answers.forget_sent();
        match self.answers.next().await {
            Some(Ok(message)) => {
                self.is_complete |= completes(&message.body);
                Some(Ok(message.body))
            }
            Some(Err(status)) if is_no_outcome(&status) => self.found_out(status).await,
            Some(Err(status)) => Some(Err(status)),
            None if self.is_complete => None,
            // Somebody else has released the operations of the session.
            None => {
                self.found_out(Status::cancelled("the operation was released before its end"))
                    .await
            }
        }
    }

    /// What became of an operation whose results end before they are complete, by what is written down of it.
    async fn found_out(&mut self, status: Status) -> Option<Result<Bytes, Status>> {
        if !matches!(self.class, Some(Class::Write | Class::Pinned)) {
            return Some(Err(status));
        }
        let recalled = self
            .inside
            .connect
            .recall(self.inside.call.session, &self.operation);
        match recalled.await {
            // It never came to be run.
            Ok(None) => Some(Err(status)),
            Ok(Some(entry)) => match entry.outcome {
                Outcome::Succeeded { .. } => None,
                Outcome::Failed {
                    code,
                    message,
                    details,
                } => Some(Err(recorded_status(code, &message, &details))),
                Outcome::Unknown => Some(Err(errors::outcome_unknown(&entry.what))),
            },
            Err(unread) => {
                tracing::warn!(session.id = %self.inside.id(), error = %unread, "what became of a write cannot be read");
                Some(Err(errors::outcome_unknown("a write")))
            }
        }
    }
}

/// True of an end that says nothing of the operation: Berth's own trouble, or a driver that was told to stop sending.
fn is_no_outcome(status: &Status) -> bool {
    let class = errors::error_class(status);
    status.code() == Code::Unavailable || class.as_deref() == Some("INVALID_CURSOR.DISCONNECTED")
}

/// True of the message that says that nothing follows.
fn completes(message: &[u8]) -> bool {
    wire::last_bytes(message, answer::RESULT_COMPLETE).is_ok_and(|found| found.is_some())
}

/// The class of a serialized `Plan`; `None` if it is none.
pub(crate) fn class_of(plan: &[u8]) -> Option<Class> {
    let mut request = Vec::with_capacity(plan.len() + 8);
    wire::append_bytes(&mut request, fields::PLAN, plan);
    classify_execute(&request).ok().map(|classified| classified.class)
}

/// The SQLSTATE of an error, where it carries Spark's details.
pub(crate) fn sql_state(status: &Status) -> Option<String> {
    errors::detail(status, "sqlState")
}
