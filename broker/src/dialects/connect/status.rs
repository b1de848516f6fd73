//! GetStatus: how the operations of a session stand, whatever driver they ran on.

use std::sync::Arc;

use berth_core::connect::status::{self, CANCELLED, FAILED, Held, RUNNING, SUCCEEDED, Told, UNKNOWN};
use berth_core::wire::{self, WireError};
use tonic::Status;

use super::Connect;
use super::codec::Message;
use super::errors;
use super::operation::Operation;
use super::rewrite::malformed;
use super::session::Call;
use super::unary;

/// `GetStatusRequest.operation_status`.
const OPERATION_STATUS: u32 = 5;
/// `OperationStatusRequest.operation_ids`.
const OPERATION_IDS: u32 = 1;
/// `GetStatusResponse.operation_statuses`.
const OPERATION_STATUSES: u32 = 3;
/// `OperationStatus.operation_id`.
const OPERATION_ID: u32 = 1;
/// `OperationStatus.state`.
const STATE: u32 = 2;

/// Asks the driver, under its own ids, and adds what it does not know.
pub(crate) async fn get_status(connect: &Arc<Connect>, mut call: Call) -> Result<Message, Status> {
    if connect.record_of(&call).await?.is_none() {
        let shown = call.client_session.to_string();
        return Err(errors::invalid_handle(errors::Handle::SessionNotFound, &shown));
    }
    let Some(asked) = asked(&call.message).map_err(malformed)? else {
        return unary::forward(connect, &call).await;
    };
    call.message = with_other_ids(&call, &status::other_ids(&asked, &held(connect, &call))).into();
    let answer = unary::forward(connect, &call).await?;
    // Read again: it may have waited for the session's next driver, where operations have other ids.
    with_told(&answer, &asked, &held(connect, &call)).map_err(malformed)
}

/// The ids that the client names, none for all of them; `None` if it asks for no operations.
fn asked(message: &[u8]) -> Result<Option<Vec<String>>, WireError> {
    let mut ids = Vec::new();
    let requests = wire::all_bytes(message, OPERATION_STATUS)?;
    for request in &requests {
        ids.extend(wire::all_bytes(request, OPERATION_IDS)?.into_iter().map(text));
    }
    Ok((!requests.is_empty()).then_some(ids))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn with_other_ids(call: &Call, ids: &[&str]) -> Vec<u8> {
    let mut message = call.message.to_vec();
    let mut more = Vec::new();
    for id in ids {
        wire::append_string(&mut more, OPERATION_IDS, id);
    }
    // A message field that comes twice is merged.
    if !more.is_empty() {
        wire::append_bytes(&mut message, OPERATION_STATUS, &more);
    }
    message
}

fn held(connect: &Connect, call: &Call) -> Vec<Held> {
    let of_session = connect.operations.of_session(call.session);
    of_session.iter().map(|operation| held_of(operation)).collect()
}

fn held_of(operation: &Operation) -> Held {
    Held {
        id: operation.id.clone(),
        on_driver: operation.running().map(|target| target.operation),
        state: match operation.outbox.end() {
            None => RUNNING,
            Some(Ok(())) => SUCCEEDED,
            Some(Err(status)) if errors::error_class(&status).as_deref() == Some("OPERATION_CANCELED") => {
                CANCELLED
            }
            Some(Err(_)) => FAILED,
        },
    }
}

/// The answer with what is told in place of what the driver said, where that differs.
fn with_told(answer: &Message, asked: &[String], held: &[Held]) -> Result<Message, WireError> {
    let by_driver = wire::all_bytes(&answer.body, OPERATION_STATUSES)?;
    let by_driver: Vec<Told> = by_driver.into_iter().map(read_told).collect::<Result<_, _>>()?;
    let told = status::told(asked, by_driver.clone(), held);
    if told == by_driver {
        return Ok(answer.clone());
    }
    // The ids of the session are in what is appended, so that the statuses are all there is to write.
    let mut tail = answer.tail.to_vec();
    for told in told {
        let mut one = Vec::new();
        wire::append_string(&mut one, OPERATION_ID, &told.id);
        wire::append_varint(&mut one, STATE, told.state);
        wire::append_bytes(&mut tail, OPERATION_STATUSES, &one);
    }
    Ok(Message {
        body: bytes::Bytes::new(),
        tail: tail.into(),
    })
}

fn read_told(status: &[u8]) -> Result<Told, WireError> {
    Ok(Told {
        id: wire::last_text(status, OPERATION_ID)?.unwrap_or_default(),
        state: wire::last_varint(status, STATE)?.unwrap_or(UNKNOWN),
    })
}
