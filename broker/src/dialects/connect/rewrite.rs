//! Reads the ids of a message and replaces them by appending.
//!
//! Nothing is decoded but the top level of a message; what a plan or a batch contains is passed on as it is.

use berth_core::record::SessionRecord;
use berth_core::wire::{self, Value};
use bytes::Bytes;
use tonic::Status;

use super::backend::Route;
use super::codec::Message;
use super::rpc::{self, Rpc, answer, execute};

/// The ids of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Head {
    /// The client's session id, as it came.
    pub(crate) session_id: String,
    /// The user that the message names; empty if none.
    pub(crate) user_id: String,
    /// The server-side session id that the client knows.
    pub(crate) observed: Option<String>,
}

/// Reads the ids of a request.
///
/// # Errors
/// The status of a message that is not protobuf.
pub(crate) fn read_head(rpc: Rpc, message: &[u8]) -> Result<Head, Status> {
    let observed = rpc.layout().observed;
    let mut head = Head::default();
    for field in wire::fields(message) {
        let field = field.map_err(malformed)?;
        let Value::Bytes(bytes) = field.value else {
            continue;
        };
        match field.number {
            rpc::SESSION_ID => head.session_id = text(bytes)?,
            rpc::USER_CONTEXT => {
                if let Some(user) = wire::last_text(bytes, rpc::USER_ID).map_err(malformed)? {
                    head.user_id = user;
                }
            }
            number if Some(number) == observed => head.observed = Some(text(bytes)?),
            _ => {}
        }
    }
    Ok(head)
}

/// True when one of the request's options asks for a reattachable execution.
///
/// # Errors
/// The status of a message that is not protobuf.
pub(crate) fn is_reattachable(request: &[u8]) -> Result<bool, Status> {
    let mut reattachable = false;
    for option in wire::all_bytes(request, execute::REQUEST_OPTIONS).map_err(malformed)? {
        if let Some(options) = wire::last_bytes(option, execute::REATTACH_OPTIONS).map_err(malformed)? {
            let value = wire::last_varint(options, execute::REATTACHABLE).map_err(malformed)?;
            reattachable = value == Some(1);
        }
    }
    Ok(reattachable)
}

/// A request as the session's driver must see it: its ids, its owner, and what `extra` appends.
pub(crate) fn request(rpc: Rpc, route: &Route, body: Bytes, extra: impl FnOnce(&mut Vec<u8>)) -> Message {
    let mut tail = Vec::with_capacity(160);
    wire::append_string(&mut tail, rpc::SESSION_ID, &route.upstream_session_id.to_string());
    let mut user = Vec::with_capacity(32);
    wire::append_string(&mut user, rpc::USER_ID, &route.record.owner);
    wire::append_bytes(&mut tail, rpc::USER_CONTEXT, &user);
    // An empty observed id would be refused; a driver that gave none does not look.
    if let Some(number) = rpc.layout().observed
        && !route.upstream_server_session_id.is_empty()
    {
        wire::append_string(&mut tail, number, &route.upstream_server_session_id);
    }
    extra(&mut tail);
    Message {
        body,
        tail: tail.into(),
    }
}

/// A response as the session's client must see it: its ids, and what `extra` appends.
pub(crate) fn response(
    rpc: Rpc,
    record: &SessionRecord,
    body: Bytes,
    extra: impl FnOnce(&mut Vec<u8>),
) -> Message {
    let layout = rpc.layout();
    let mut tail = Vec::with_capacity(192);
    wire::append_string(&mut tail, layout.session_id, &record.client_id);
    let server_id = record.server_session_id.to_string();
    wire::append_string(&mut tail, layout.server_session_id, &server_id);
    extra(&mut tail);
    Message {
        body,
        tail: tail.into(),
    }
}

/// What an ExecutePlanResponse is, as far as a broker cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Rows.
    Batch,
    /// Progress figures: may be dropped.
    Progress,
    /// The end of a reattachable result.
    Complete,
    /// The result's schema.
    Schema,
    /// Events of a listener: there is no end of them, and no second time.
    Event,
    /// Anything else: metrics, the result of a command.
    Other,
}

/// An ExecutePlanResponse with the fields that differ between two runs of one plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    /// What it is.
    pub(crate) kind: Kind,
    /// The driver's id of the message.
    pub(crate) response_id: String,
    /// The driver's id of the session.
    pub(crate) server_session_id: String,
    /// The whole message.
    pub(crate) body: Bytes,
}

impl Answer {
    /// Reads an answer.
    ///
    /// # Errors
    /// The status of a message that is not protobuf.
    pub(crate) fn read(body: Bytes) -> Result<Self, Status> {
        let mut kind = Kind::Other;
        let mut response_id = String::new();
        let mut server_session_id = String::new();
        for field in wire::fields(&body) {
            let field = field.map_err(malformed)?;
            let Value::Bytes(bytes) = field.value else {
                continue;
            };
            match field.number {
                answer::ARROW_BATCH => kind = Kind::Batch,
                answer::SCHEMA if kind == Kind::Other => kind = Kind::Schema,
                answer::PROGRESS => kind = Kind::Progress,
                answer::LISTENER_EVENTS => kind = Kind::Event,
                answer::RESULT_COMPLETE => kind = Kind::Complete,
                answer::RESPONSE_ID => response_id = text(bytes)?,
                number if number == Rpc::ExecutePlan.layout().server_session_id => {
                    server_session_id = text(bytes)?;
                }
                _ => {}
            }
        }
        Ok(Self {
            kind,
            response_id,
            server_session_id,
            body,
        })
    }
}

impl Answer {
    /// The end of a reattachable result, when Berth says it and not a driver.
    pub(crate) fn complete(operation: &str) -> Self {
        let mut body = Vec::new();
        wire::append_string(&mut body, answer::OPERATION_ID, operation);
        wire::append_bytes(&mut body, answer::RESULT_COMPLETE, &[]);
        Self {
            kind: Kind::Complete,
            response_id: String::new(),
            server_session_id: String::new(),
            body: body.into(),
        }
    }

    /// The part that two equal runs have in common: the schema or the batch.
    pub(crate) fn payload(&self) -> &[u8] {
        let number = if self.kind == Kind::Batch {
            answer::ARROW_BATCH
        } else {
            answer::SCHEMA
        };
        // Read once before, so it is protobuf.
        wire::last_bytes(&self.body, number)
            .ok()
            .flatten()
            .unwrap_or_default()
    }
}

fn text(bytes: &[u8]) -> Result<String, Status> {
    let checked = std::str::from_utf8(bytes);
    let checked = checked.map_err(|error| Status::internal(format!("Invalid protobuf: {error}")))?;
    Ok(checked.to_owned())
}

/// The status for a message that is not protobuf.
pub(crate) fn malformed(error: wire::WireError) -> Status {
    Status::internal(format!("Invalid protobuf: {error}"))
}
