//! Handles of sessions and operations: a UUID, and sixteen bytes that clients send back as they are.

use uuid::Uuid;

use super::wire::{Fields, Out};
use crate::dialects::sql::failure::Failure;
use crate::dialects::sql::operation::{Kind, Operation};
use crate::dialects::sql::session::Session;

/// An operation's handle as it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OperationHandle {
    /// The operation.
    pub(super) id: Uuid,
    /// Its session: what this program puts where others have a secret. Who may use it is a matter of the user.
    pub(super) session: Uuid,
}

/// The session that a request is about.
///
/// # Errors
/// The handle is missing or none.
pub(super) fn session(request: &Fields<'_>) -> Result<Uuid, Failure> {
    let (id, _) = identifier(request.fields(1)).ok_or_else(|| missing("SessionHandle"))?;
    Ok(id)
}

/// The operation that a request is about.
///
/// # Errors
/// The handle is missing or none.
pub(super) fn operation(request: &Fields<'_>) -> Result<OperationHandle, Failure> {
    let (id, session) = identifier(request.fields(1)).ok_or_else(|| missing("OperationHandle"))?;
    Ok(OperationHandle { id, session })
}

fn missing(what: &str) -> Failure {
    Failure::invalid(format!(
        "Invalid {what}: the request has none; send the handle that was answered"
    ))
}

fn identifier(handle: Option<&Fields<'_>>) -> Option<(Uuid, Uuid)> {
    let identifier = handle?.fields(1)?;
    let uuid = |number| Uuid::from_slice(identifier.bytes(number)?).ok();
    Some((uuid(1)?, uuid(2).unwrap_or_default()))
}

/// Writes a session's handle.
pub(super) fn write_session(out: &mut Out, number: i16, session: &Session) {
    out.fields(number, |out| write_identifier(out, session.id, session.id));
}

/// Writes an operation's handle.
pub(super) fn write_operation(out: &mut Out, number: i16, operation: &Operation) {
    out.fields(number, |out| {
        write_identifier(out, operation.id, operation.session);
        out.int(2, kind(operation.kind));
        out.flag(3, true);
    });
}

fn write_identifier(out: &mut Out, id: Uuid, secret: Uuid) {
    out.fields(1, |out| {
        out.bytes(1, id.as_bytes());
        out.bytes(2, secret.as_bytes());
    });
}

/// `TOperationType`.
const fn kind(kind: Kind) -> i32 {
    match kind {
        Kind::Statement => 0,
        Kind::TypeInfo => 1,
        Kind::Catalogs => 2,
        Kind::Schemas => 3,
        Kind::Tables => 4,
        Kind::TableTypes => 5,
        Kind::Columns => 6,
        Kind::Functions => 7,
        Kind::PrimaryKeys | Kind::CrossReference => 8,
    }
}
