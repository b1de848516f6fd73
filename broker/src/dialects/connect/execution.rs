//! The task of one operation: runs it until it ends, over as many drivers as the rules allow.
//!
//! ```text
//!            +--------- same epoch: continue, or send again --------+
//!            v                                                      |
//!   intent -> attempt --- lost ---> recover the session --- new epoch: decide by class
//!  (state,       |                          read: run again and skip what was delivered
//!   write)       +--- end ---> outcome      state: run again, or answer from the record
//!                              (state,      write: tell that its outcome is unknown
//!                               write) ---> client
//! ```
//!
//! What follows a fault is in [`super::recourse`].

use std::sync::Arc;
use std::time::Duration;

use berth_core::connect::{Classified, Standing};
use berth_core::lineage::Class;
use bytes::Bytes;
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};

use super::Connect;
use super::attempt::{Attempt, Start, Target};
use super::backend::{Route, Ticket};
use super::delivery::{Delivery, Verdict};
use super::errors;
use super::loss::Fault;
use super::operation::Operation;
use super::recorded::Recorded;
use super::recourse::Next;
use super::rewrite::Answer;

/// How long a request that ends the events of queries waits for them to begin.
const BEGIN_PATIENCE: Duration = Duration::from_secs(60);

/// What to execute.
#[derive(Debug)]
pub(crate) struct Job {
    /// The operation.
    pub(crate) operation: Arc<Operation>,
    /// Where its session lives.
    pub(crate) route: Route,
    /// The client's request; `None` when the operation is known only by a reattach.
    pub(crate) request: Option<Bytes>,
    /// Headers for the driver.
    pub(crate) metadata: MetadataMap,
    /// True when the client asked for a reattachable execution.
    pub(crate) reattachable: bool,
    /// What the operation does.
    pub(crate) classified: Classified,
    /// How to begin.
    pub(crate) start: Start,
    /// Its lineage entry, when another broker wrote it down already.
    pub(crate) ticket: Option<Ticket>,
}

/// The running task.
#[derive(Debug)]
pub(crate) struct Execution {
    pub(super) connect: Arc<Connect>,
    pub(super) job: Job,
    pub(super) delivery: Delivery,
    /// `None` for reads, which are not recorded.
    pub(super) recorded: Option<Recorded>,
    /// The operation's id on the current driver.
    pub(super) upstream_operation: String,
    /// The driver's last message of the current run.
    pub(super) last: Option<String>,
    /// True when a message of the current run was received.
    pub(super) heard: bool,
    /// True when a driver may have begun the current run.
    pub(super) sent: bool,
    /// True when the plan was sent to one driver twice.
    pub(super) repeated: bool,
    /// How often the current epoch's driver was asked again.
    pub(super) reconnects: u32,
    /// How many drivers were lost under the operation that it may be to blame for.
    pub(super) losses: u32,
    /// What the operation is there to end: the streams of events that were open when it came. One that is opened
    /// as soon as the client knows that these have ended is none of them.
    closes: Vec<Arc<Operation>>,
}

impl Execution {
    /// Prepares an execution; nothing runs yet.
    pub(crate) fn new(connect: Arc<Connect>, job: Job, delivery: Delivery) -> Self {
        let closes = match job.classified.standing {
            Standing::ClosesEvents => connect.operations.open_events(job.operation.session),
            Standing::Works | Standing::Waits | Standing::OpensEvents => Vec::new(),
        };
        Self {
            connect,
            closes,
            upstream_operation: job.operation.id.clone(),
            last: None,
            job,
            delivery,
            recorded: None,
            heard: false,
            sent: false,
            repeated: false,
            reconnects: 0,
            losses: 0,
        }
    }

    /// Runs the operation to its end and leaves the result in its outbox.
    pub(crate) async fn run(mut self) {
        let outbox = Arc::clone(&self.job.operation.outbox);
        let end = self.drive().await;
        if end.is_ok() {
            self.complete().await;
        }
        self.connect
            .count_statement(&self.job.route.record.tenant, self.job.classified.class, &end);
        // A client comes back after such an end, and must find what there is then, not the end of this try.
        let comes_back = end
            .as_ref()
            .is_err_and(|status| errors::brings_back(status) || status.code() == Code::Unavailable);
        if comes_back {
            self.connect.operations.hand_over(&self.job.operation);
        }
        outbox.finish(end);
        self.job.operation.set_over();
    }

    /// Ends a result for its client when no driver did, and whatever the operation was there to end.
    async fn complete(&mut self) {
        for events in &self.closes {
            events.closed.cancel();
        }
        if self.job.reattachable && !self.delivery.is_complete() {
            // A client that may reattach does so until it is told that nothing follows.
            let last = Answer::complete(&self.job.operation.id);
            let _released = self.pass(&last).await;
        }
    }

    async fn drive(&mut self) -> Result<(), Status> {
        if self.job.classified.class == Class::Read {
            let outbox = Arc::clone(&self.job.operation.outbox);
            return tokio::select! {
                end = self.follow() => end,
                () = outbox.released() => Ok(()),
            };
        }
        self.intend().await?;
        let end = self.follow().await;
        self.conclude(end).await
    }

    /// Makes the intent durable, on a driver that was alive a moment ago: a write sent to a driver that is lost
    /// can only be reported as unknown, so none is sent into the void. One that is not wanted any more by then is not
    /// sent at all.
    async fn intend(&mut self) -> Result<(), Status> {
        if let Some(ticket) = self.job.ticket.take() {
            self.recorded = Some(Recorded::resumed(ticket));
            return Ok(());
        }
        let operation = &self.job.operation;
        let route = tokio::select! {
            biased;
            () = operation.interrupted.cancelled() => return Err(self.interrupted(false)),
            () = operation.outbox.released() => return Err(Status::cancelled("the client released the operation")),
            route = self.connect.proved(self.job.route.clone()) => route?,
        };
        self.job.route = route;
        self.recorded = Some(Recorded::begin(&self.connect, &self.job).await?);
        Ok(())
    }

    /// Makes the outcome durable and lets the result through.
    async fn conclude(&mut self, end: Result<(), Status>) -> Result<(), Status> {
        let Some(recorded) = self.recorded.take() else {
            return end;
        };
        if end
            .as_ref()
            .is_err_and(|status| status.code() == Code::Unavailable)
        {
            // Berth's own trouble and no outcome: what became of the operation is found out when it is asked for.
            return end;
        }
        let held = recorded.finish(&self.connect, &end).await?;
        for answer in held {
            if self.pass(&answer).await.is_err() {
                break;
            }
        }
        end
    }

    async fn follow(&mut self) -> Result<(), Status> {
        let mut start = self.job.start.clone();
        if let Start::Reattach(last) = &start {
            self.last.clone_from(last);
            self.heard = true;
        }
        loop {
            let Err(fault) = self.attempt(start).await else {
                return Ok(());
            };
            match self.after(fault).await? {
                Next::Start(next) => start = next,
                Next::Done => return Ok(()),
            }
        }
    }

    async fn attempt(&mut self, start: Start) -> Result<(), Fault> {
        let target = self.target();
        self.job.operation.set_running(Some(target.clone()));
        if self.job.operation.interrupted.is_cancelled() {
            // Its client was told so while no driver had it.
            return Err(Fault::Answer(
                self.interrupted(matches!(start, Start::Reattach(_))),
            ));
        }
        self.let_events_begin().await;
        let goes_on = matches!(start, Start::Reattach(_));
        let begun = Attempt::start(target, start).await;
        self.sent |= goes_on || !begun.as_ref().is_err_and(Fault::is_refused);
        let mut attempt = begun?;
        while let Some(answer) = attempt.next().await? {
            if !self.heard {
                self.heard = true;
                self.job.operation.set_heard(self.job.route.epoch);
            }
            self.reconnects = 0;
            self.last = attempt.last().map(str::to_owned);
            self.deliver(answer).await?;
        }
        Ok(())
    }

    /// A driver that is asked to end what it has not begun answers nothing, and begins it afterwards. After a loss
    /// both come to the next driver, each when it can.
    async fn let_events_begin(&self) {
        let epoch = self.job.route.epoch;
        let all_begin = async {
            for events in &self.closes {
                events.has_answered_in(epoch).await;
            }
        };
        if tokio::time::timeout(BEGIN_PATIENCE, all_begin).await.is_err() {
            let session = self.job.operation.session;
            tracing::warn!(session.id = %session, epoch = %epoch, "events of queries do not begin");
        }
    }

    fn target(&self) -> Target {
        Target {
            route: self.job.route.clone(),
            operation: self.upstream_operation.clone(),
            request: self.job.request.clone(),
            reattachable: self.job.reattachable,
            metadata: self.job.metadata.clone(),
        }
    }

    async fn deliver(&mut self, answer: Answer) -> Result<(), Fault> {
        let passing = match &mut self.recorded {
            Some(recorded) => recorded.hold(answer),
            None => vec![answer],
        };
        for passing in passing {
            self.pass(&passing).await?;
        }
        Ok(())
    }

    /// Lets an answer through to the client, unless the client has it already from an earlier run.
    async fn pass(&mut self, answer: &Answer) -> Result<(), Fault> {
        let record = &self.job.route.record;
        let message = match self.delivery.admit(self.job.route.epoch, record, answer) {
            Verdict::Pass(message) => message,
            Verdict::Skip => return Ok(()),
            Verdict::Diverged => {
                return Err(Fault::Answer(errors::not_deterministic(
                    &self.job.classified.what,
                )));
            }
        };
        let pushed = self
            .job
            .operation
            .outbox
            .push(self.delivery.position(), message)
            .await;
        match pushed {
            Ok(()) => Ok(()),
            // A recorded operation runs to its end, whoever listens: its outcome must be known.
            Err(_released) if self.recorded.is_some() => Ok(()),
            Err(_released) => Err(Fault::Answer(Status::cancelled(
                "the client released the operation",
            ))),
        }
    }
}
