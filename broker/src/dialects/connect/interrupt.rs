//! Interrupt: asks operations of a session to stop, also those that are between two drivers.

use std::sync::Arc;
use std::time::Duration;

use berth_core::wire::{self, Value};
use bytes::Bytes;
use tonic::Status;

use super::Connect;
use super::backend::Route;
use super::codec::Message;
use super::operation::Operation;
use super::rewrite::{self, malformed};
use super::session::Call;
use super::unary;

const INTERRUPT_TYPE: u32 = 4;
const OPERATION_TAG: u32 = 5;
const OPERATION_ID: u32 = 6;
const TYPE_TAG: u64 = 2;
const TYPE_OPERATION_ID: u64 = 3;
/// `InterruptResponse.interrupted_ids`.
const INTERRUPTED_IDS: u32 = 2;

/// Which operations are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Meant {
    All,
    Tag(String),
    Operation(String),
}

/// How long a driver is waited for beside operations that were stopped without it.
const DRIVER_PATIENCE: Duration = Duration::from_secs(2);

/// Interrupts. Operations that wait for a driver are stopped here, for their driver would not know them; the
/// others by their driver. The answer names both.
pub(crate) async fn interrupt(connect: &Arc<Connect>, call: Call) -> Result<Message, Status> {
    let meant = read_meant(&call.message)?;
    let stopped = stop_waiting(connect, &call, &meant);
    if !stopped.is_empty()
        && let Some(record) = connect.record_of(&call).await?
    {
        let (more, answer) = stop_running(connect, &call, &meant).await;
        let answer = rewrite::response(call.rpc, &record, answer, |tail| {
            for id in stopped.iter().chain(&more) {
                wire::append_string(tail, INTERRUPTED_IDS, id);
            }
        });
        return Ok(with_client_ids(connect, &call, &answer));
    }
    if let Meant::Operation(id) = &meant
        && let Some(there) = upstream_id(connect, &call, id)
    {
        return forward_as(connect, call, &there).await;
    }
    let answer = unary::forward(connect, &call).await?;
    Ok(with_client_ids(connect, &call, &answer))
}

fn read_meant(message: &[u8]) -> Result<Meant, Status> {
    let kind = wire::last_varint(message, INTERRUPT_TYPE).map_err(malformed)?;
    let text = |number| wire::last_text(message, number).map_err(malformed);
    Ok(match kind {
        Some(TYPE_TAG) => Meant::Tag(text(OPERATION_TAG)?.unwrap_or_default()),
        Some(TYPE_OPERATION_ID) => Meant::Operation(text(OPERATION_ID)?.unwrap_or_default()),
        _ => Meant::All,
    })
}

fn stop_waiting(connect: &Connect, call: &Call, meant: &Meant) -> Vec<String> {
    let of_session = connect.operations.of_session(call.session).into_iter();
    let stopped = of_session.filter(|operation| meant.includes(operation) && operation.interrupt_waiting());
    stopped.map(|operation| operation.id.clone()).collect()
}

/// Asks the driver that has others of the session to stop those that are meant, and gives its answer. What it lost
/// meanwhile waits by then, and is stopped here.
async fn stop_running(connect: &Connect, call: &Call, meant: &Meant) -> (Vec<String>, Bytes) {
    if matches!(meant, Meant::Operation(_)) {
        return (Vec::new(), Bytes::new());
    }
    let asked = async {
        let route = match running_route(connect, call) {
            Some(route) => route,
            None => connect.route(call).await?,
        };
        unary::send(call, route).await
    };
    match tokio::time::timeout(DRIVER_PATIENCE, asked).await {
        Ok(Ok(answer)) => (Vec::new(), answer),
        Ok(Err(_)) | Err(_) => (stop_waiting(connect, call, meant), Bytes::new()),
    }
}

/// Where operations of the session run that are here.
fn running_route(connect: &Connect, call: &Call) -> Option<Route> {
    let of_session = connect.operations.of_session(call.session).into_iter();
    let mut running = of_session.filter(|operation| !operation.outbox.is_finished());
    running.find_map(|operation| Some(operation.running()?.route))
}

impl Meant {
    fn includes(&self, operation: &Operation) -> bool {
        match self {
            Self::All => true,
            Self::Tag(tag) => operation.tags.contains(tag),
            Self::Operation(id) => operation.id == *id,
        }
    }
}

/// The id that the operation has on its driver, when it is not the client's.
fn upstream_id(connect: &Connect, call: &Call, id: &str) -> Option<String> {
    let of_session = connect.operations.of_session(call.session);
    let operation = of_session.into_iter().find(|operation| operation.id == id)?;
    operation
        .running()
        .map(|target| target.operation)
        .filter(|there| there != id)
}

async fn forward_as(connect: &Arc<Connect>, mut call: Call, there: &str) -> Result<Message, Status> {
    let mut message = call.message.to_vec();
    wire::append_string(&mut message, OPERATION_ID, there);
    call.message = message.into();
    let answer = unary::forward(connect, &call).await?;
    Ok(with_client_ids(connect, &call, &answer))
}

/// Adds the client's own ids of operations that have another one on their driver. A client ignores ids that it
/// does not know.
fn with_client_ids(connect: &Connect, call: &Call, answer: &Message) -> Message {
    let named: Vec<&[u8]> = wire::fields(&answer.body)
        .filter_map(|field| match field.ok()?.value {
            Value::Bytes(bytes) => Some(bytes),
            Value::Varint(_) | Value::Fixed32(_) | Value::Fixed64(_) => None,
        })
        .collect();
    let mut tail = answer.tail.to_vec();
    for operation in connect.operations.of_session(call.session) {
        let there = operation.running().map(|target| target.operation);
        if there.is_some_and(|there| there != operation.id && named.contains(&there.as_bytes())) {
            wire::append_string(&mut tail, INTERRUPTED_IDS, &operation.id);
        }
    }
    Message {
        body: answer.body.clone(),
        tail: tail.into(),
    }
}
