//! ReattachExecute: goes on with a result, from wherever in the cluster it can still be had.
//!
//! | the operation | is continued from |
//! |---|---|
//! | runs or ended here | the outbox |
//! | is recorded (state, write), with an outcome | the record |
//! | is recorded, outcome unknown, same epoch | the driver, which may still run it |
//! | is recorded, outcome unknown, older epoch | a state change runs again; a write is told to be unknown |
//! | is not recorded (a read), same epoch | the driver, after the message that the client's cursor names |
//! | is not recorded, older epoch | nowhere: the client runs it again itself if it received nothing |

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use berth_core::connect::Classified;
use berth_core::lineage::{Class, LineageEntry, Outcome};
use berth_core::wire;
use bytes::Bytes;
use tonic::{Code, Status};

use super::Connect;
use super::attempt::Start;
use super::backend::{Route, Ticket};
use super::delivery::{Delivery, Position, Verdict};
use super::errors::{self, CursorFault, Handle, invalid_cursor, invalid_handle};
use super::execute;
use super::execution::Job;
use super::operation::Operation;
use super::outbox::{Limits, Outbox, Released};
use super::recorded::unpack;
use super::registry::Found;
use super::rewrite::{Answer, malformed};
use super::rpc;
use super::session::{Call, parse_handle};
use super::stream::Answers;

/// What the client asks to continue.
struct Wanted {
    id: String,
    /// The last message that it has; `None` if it has none.
    after: Option<Position>,
    /// The same, as text for errors.
    shown: String,
}

impl Wanted {
    fn read(message: &[u8]) -> Result<Self, Status> {
        let id = wire::last_text(message, rpc::execute::REATTACH_OPERATION_ID).map_err(malformed)?;
        let id = id.unwrap_or_default();
        parse_handle(&id)?;
        let shown = wire::last_text(message, rpc::execute::LAST_RESPONSE_ID).map_err(malformed)?;
        let shown = shown.unwrap_or_default();
        let after = match shown.as_str() {
            "" => None,
            text => Some(
                Position::parse(text).ok_or_else(|| invalid_cursor(CursorFault::PositionNotFound, text))?,
            ),
        };
        Ok(Self { id, after, shown })
    }

    fn position(&self) -> u64 {
        self.after.as_ref().map_or(0, |after| after.position)
    }

    fn not_found(&self) -> Status {
        invalid_handle(Handle::OperationNotFound, &self.id)
    }
}

/// Continues a result.
pub(crate) async fn reattach(connect: &Arc<Connect>, call: Call) -> Result<Answers, Status> {
    let wanted = Wanted::read(&call.message)?;
    if connect.record_of(&call).await?.is_none() {
        return Err(invalid_handle(
            Handle::SessionNotFound,
            &call.client_session.to_string(),
        ));
    }
    match connect.operations.find(call.session, &wanted.id) {
        Found::Live(operation) if !operation.reattachable => {
            Err(invalid_cursor(CursorFault::NotReattachable, &wanted.shown))
        }
        Found::Live(operation) => {
            let reader = operation.outbox.attach(wanted.position(), &wanted.shown)?;
            Ok(Answers::new(connect, operation, reader))
        }
        Found::Gone => Err(wanted.not_found()),
        Found::Unknown => from_elsewhere(connect, call, wanted).await,
    }
}

async fn from_elsewhere(connect: &Arc<Connect>, call: Call, wanted: Wanted) -> Result<Answers, Status> {
    let route = connect.route(&call).await?;
    match connect.recall(call.session, &wanted.id).await? {
        Some(entry) => from_record(connect, call, wanted, route, entry).await,
        None => from_driver(connect, call, wanted, route),
    }
}

/// A read that another broker started.
fn from_driver(connect: &Arc<Connect>, call: Call, wanted: Wanted, route: Route) -> Result<Answers, Status> {
    let from = wanted.after.as_ref();
    if from.is_some_and(|after| after.epoch != route.epoch) {
        return Err(errors::result_lost(&wanted.id));
    }
    let last = from.and_then(|after| after.upstream.clone());
    let job = Job {
        operation: Arc::new(entered(connect, &call, &wanted)),
        route,
        request: None,
        metadata: call.metadata,
        reattachable: true,
        classified: unnamed_read(),
        start: Start::Reattach(last),
        ticket: None,
    };
    let delivery = from.map_or_else(Delivery::new, Delivery::after);
    execute::start(connect, job, delivery, wanted.position())
}

fn entered(connect: &Connect, call: &Call, wanted: &Wanted) -> Operation {
    let outbox = Outbox::starting_at(connect.config.outbox(true), wanted.position());
    Operation::new(call.session, &wanted.id, true, outbox)
}

fn unnamed_read() -> Classified {
    Classified::new(Class::Read, "query")
}

/// A state change or a write that another broker started.
async fn from_record(
    connect: &Arc<Connect>,
    call: Call,
    wanted: Wanted,
    route: Route,
    entry: LineageEntry,
) -> Result<Answers, Status> {
    match &entry.outcome {
        Outcome::Succeeded { answer: Some(answer) } => {
            let messages = unpack(connect.payload(call.session, answer).await?);
            replay_answer(connect, &call, &wanted, &route, messages).await
        }
        Outcome::Succeeded { answer: None } => Err(errors::answer_not_kept(&entry.what)),
        Outcome::Failed {
            code,
            message,
            details,
        } => Err(recorded_status(*code, message, details)),
        Outcome::Unknown if entry.class == Class::Write && entry.epoch != route.epoch => {
            Err(errors::outcome_unknown(&entry.what))
        }
        Outcome::Unknown => resume_recorded(connect, call, wanted, route, entry).await,
    }
}

/// The status that a recorded failure gave.
pub(crate) fn recorded_status(code: i32, message: &str, details: &str) -> Status {
    // Written by Berth itself; a damaged one leaves the message.
    let details = BASE64.decode(details).unwrap_or_default();
    Status::with_details(Code::from_i32(code), message, Bytes::from(details))
}

/// Fills an outbox with a recorded answer.
async fn replay_answer(
    connect: &Arc<Connect>,
    call: &Call,
    wanted: &Wanted,
    route: &Route,
    messages: Vec<Bytes>,
) -> Result<Answers, Status> {
    let outbox = Outbox::new(Limits {
        unsent_bytes: usize::MAX,
        sent_bytes: connect.config.sent_bytes,
    });
    let mut delivery = Delivery::new();
    for message in messages {
        let answer = Answer::read(message)?;
        if let Verdict::Pass(message) = delivery.admit(route.epoch, &route.record, &answer) {
            // Nobody can have released an outbox that nobody knows yet.
            let _: Result<(), Released> = outbox.push(delivery.position(), message).await;
        }
    }
    outbox.finish(Ok(()));
    let operation = Arc::new(Operation::new(call.session, &wanted.id, true, outbox));
    let reader = operation.outbox.attach(wanted.position(), &wanted.shown)?;
    connect.operations.enter(&operation);
    Ok(Answers::new(connect, operation, reader))
}

/// Goes on with a recorded operation whose outcome nobody wrote down: the broker that ran it is gone, or the
/// client left it.
async fn resume_recorded(
    connect: &Arc<Connect>,
    call: Call,
    wanted: Wanted,
    route: Route,
    entry: LineageEntry,
) -> Result<Answers, Status> {
    let request = connect.payload(call.session, &entry.payload).await?;
    let same_epoch = entry.epoch == route.epoch;
    let mut classified = unnamed_read();
    classified.class = entry.class;
    classified.what.clone_from(&entry.what);
    classified.key.clone_from(&entry.key);
    let mut operation = Operation::new(
        call.session,
        &wanted.id,
        true,
        Outbox::new(connect.config.outbox(true)),
    );
    operation.fingerprint = Some(entry.fingerprint);
    let job = Job {
        operation: Arc::new(operation),
        route,
        request: Some(request),
        metadata: call.metadata,
        reattachable: true,
        classified,
        start: if same_epoch {
            Start::Reattach(None)
        } else {
            Start::Execute
        },
        ticket: Some(Ticket {
            session: entry.session,
            seq: entry.seq,
            operation: entry.operation,
        }),
    };
    execute::start(connect, job, Delivery::new(), wanted.position())
}
