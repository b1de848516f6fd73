//! What an execution does after a fault.

use berth_core::lineage::Class;
use berth_core::record::Cause;
use tonic::Status;
use uuid::Uuid;

use super::attempt::Start;
use super::backend::Route;
use super::errors;
use super::execution::Execution;
use super::loss::Fault;

/// After how many drivers lost under it a statement is given up.
const POISON_LIMIT: u32 = 2;
/// How often one epoch's driver is asked again without a message in between.
const MAX_RECONNECTS: u32 = 6;

/// How an execution goes on.
#[derive(Debug)]
pub(crate) enum Next {
    /// With another attempt.
    Start(Start),
    /// Not at all: its answer is known.
    Done,
}

impl Execution {
    /// Decides how to go on after a fault.
    ///
    /// # Errors
    /// What the client is told when there is nothing to go on with.
    pub(super) async fn after(&mut self, fault: Fault) -> Result<Next, Status> {
        match fault {
            Fault::Answer(status) => self.after_answer(status),
            Fault::Taken(_) if self.is_released_write() => Err(self.interrupted(true)),
            Fault::Taken(status) => {
                // Its outcome is for the other broker to record.
                self.recorded = None;
                Err(status)
            }
            Fault::NoOperation(status) => self.after_forgotten(status).map(Next::Start),
            Fault::Lost { cause, refused, .. } => self.after_loss(cause, refused).await,
        }
    }

    /// True of a write whose own client has given it up: its driver then says the same as when another broker asks.
    fn is_released_write(&self) -> bool {
        let is_write = matches!(self.job.classified.class, Class::Write | Class::Pinned);
        is_write && self.job.operation.outbox.is_released()
    }

    /// The driver's own error ends the operation, unless Berth knows better what it means.
    fn after_answer(&self, status: Status) -> Result<Next, Status> {
        let class = errors::error_class(&status).unwrap_or_default();
        let made_before = self.repeated && self.job.classified.class == Class::State;
        if made_before && class.ends_with("ALREADY_EXISTS") {
            // The first run had succeeded on this driver; only its answer was lost.
            return Ok(Next::Done);
        }
        Err(errors::explained(
            status,
            &self.job.classified.handles,
            &self.job.route.record,
        ))
    }

    /// The driver serves the session but does not have the operation: the plan never arrived, or the driver gave
    /// the operation up.
    fn after_forgotten(&mut self, status: Status) -> Result<Start, Status> {
        self.count_reconnect(status)?;
        if self.job.request.is_none() {
            return Err(self.nothing_left());
        }
        match self.job.classified.class {
            // It never ran; and if the first plan arrives late, the same id keeps it from running twice.
            Class::State | Class::Write | Class::Pinned if !self.heard => Ok(Start::Execute),
            Class::Write | Class::Pinned => Err(errors::outcome_unknown(&self.job.classified.what)),
            Class::Read | Class::State => Ok(self.run_again_here()),
        }
    }

    async fn after_loss(&mut self, cause: Cause, refused: bool) -> Result<Next, Status> {
        let before = self.job.route.epoch;
        // A driver that refuses to go on with an operation has begun it all the same.
        let is_fresh = refused && !self.sent;
        self.job.operation.set_running(None);
        self.job.route = self.recovered(cause, is_fresh).await?;
        if self.job.operation.closed.is_cancelled() {
            return Ok(Next::Done);
        }
        if self.job.route.epoch == before {
            return self.after_reconnect(is_fresh).map(Next::Start);
        }
        self.losses += u32::from(!refused && self.job.classified.standing.is_to_blame());
        self.reconnects = 0;
        self.after_move(is_fresh).await
    }

    /// Waits for the session's next place, unless the client interrupts the operation first.
    async fn recovered(&self, cause: Cause, is_fresh: bool) -> Result<Route, Status> {
        let interrupted = &self.job.operation.interrupted;
        tokio::select! {
            route = self.connect.lost(&self.job.route, cause) => route,
            () = interrupted.cancelled() => Err(self.interrupted(!is_fresh)),
        }
    }

    /// What the client of an interrupted operation is told. A write that a driver may have begun is not undone by it.
    pub(super) fn interrupted(&self, is_sent: bool) -> Status {
        match self.job.classified.class {
            Class::Write | Class::Pinned if is_sent => errors::outcome_unknown(&self.job.classified.what),
            Class::Read | Class::State | Class::Write | Class::Pinned => {
                errors::interrupted(&self.job.operation.id)
            }
        }
    }

    /// The driver is still there; only the connection to it broke.
    fn after_reconnect(&mut self, is_fresh: bool) -> Result<Start, Status> {
        self.count_reconnect(Status::unavailable("the driver cannot be reached"))?;
        if is_fresh {
            return Ok(Start::Execute);
        }
        if self.job.reattachable {
            return Ok(Start::Reattach(self.last.clone()));
        }
        match self.job.classified.class {
            Class::Write | Class::Pinned => Err(errors::outcome_unknown(&self.job.classified.what)),
            Class::Read | Class::State => Ok(self.run_again_here()),
        }
    }

    /// The session lives on another driver now, with its state rebuilt.
    async fn after_move(&mut self, is_fresh: bool) -> Result<Next, Status> {
        if self.losses >= POISON_LIMIT {
            return Err(errors::kills_driver(&self.job.classified.what, self.losses));
        }
        if self.job.request.is_none() {
            return Err(self.nothing_left());
        }
        match self.job.classified.class {
            Class::Write if !is_fresh => return Err(errors::outcome_unknown(&self.job.classified.what)),
            Class::State => {
                if self.answered_by_replay().await? {
                    return Ok(Next::Done);
                }
            }
            Class::Read | Class::Write | Class::Pinned => {}
        }
        // The upstream session is a new one, so the client's own id is free there.
        let operation = self.job.operation.id.clone();
        Ok(Next::Start(self.run_again_as(operation)))
    }

    /// The driver remembers the ids of operations it gave up, so another run needs another id.
    fn run_again_here(&mut self) -> Start {
        self.repeated = true;
        self.run_again_as(Uuid::new_v4().to_string())
    }

    fn run_again_as(&mut self, operation: String) -> Start {
        self.upstream_operation = operation;
        self.last = None;
        self.heard = false;
        self.sent = false;
        let class = self.job.classified.class.as_str();
        let delivered = if self.delivery.is_untouched() {
            "none"
        } else {
            "some"
        };
        metrics::counter!("berth_statements_rerun_total", "class" => class, "delivered" => delivered)
            .increment(1);
        self.delivery.restart(&self.job.operation.id);
        if let Some(recorded) = &mut self.recorded {
            recorded.restart();
        }
        Start::Execute
    }

    fn count_reconnect(&mut self, status: Status) -> Result<(), Status> {
        self.reconnects += 1;
        if self.reconnects > MAX_RECONNECTS {
            Err(status)
        } else {
            Ok(())
        }
    }

    /// The operation came here by a reattach, and its plan is not known.
    fn nothing_left(&self) -> Status {
        let id = &self.job.operation.id;
        if self.delivery.is_untouched() {
            // The client received nothing, so it sends its plan again. Only reads come here without a plan.
            errors::invalid_handle(errors::Handle::OperationNotFound, id)
        } else {
            errors::result_lost(id)
        }
    }

    /// A state change whose intent was durable has been run by the session's rebuild, at its place. Its answer is
    /// in the record.
    async fn answered_by_replay(&mut self) -> Result<bool, Status> {
        match &mut self.recorded {
            Some(recorded) => recorded.take_replayed(&self.connect).await,
            None => Ok(false),
        }
    }
}
