//! ReleaseExecute and ReleaseSession: the client needs something no more.
//!
//! A client releases after every message. Its buffer is here, so the answer is given here; the driver bounds what
//! it keeps of a result by itself, so it only hears of the end of an operation, behind the client's back.

use std::sync::Arc;
use std::time::Duration;

use berth_core::ids::SessionId;
use berth_core::record::CloseReason;
use berth_core::wire;
use bytes::Bytes;
use tonic::Status;

use super::Connect;
use super::attempt::Target;
use super::codec::Message;
use super::delivery::Position;
use super::errors::{Handle, invalid_handle};
use super::registry::Found;
use super::rewrite::{self, malformed};
use super::rpc::execute;
use super::session::{Call, parse_handle};

/// How long a driver may take to take note of a release.
const RELEASE_DEADLINE: Duration = Duration::from_secs(10);
/// `ReleaseExecuteResponse.operation_id`.
const RELEASED_OPERATION_ID: u32 = 2;
/// `ReleaseSessionRequest.allow_reconnect`.
const ALLOW_RECONNECT: u32 = 4;

/// ReleaseExecute.
pub(crate) async fn release_execute(connect: &Arc<Connect>, call: Call) -> Result<Message, Status> {
    let id = wire::last_text(&call.message, execute::REATTACH_OPERATION_ID).map_err(malformed)?;
    let id = id.unwrap_or_default();
    parse_handle(&id)?;
    let Some(record) = connect.record_of(&call).await? else {
        return Err(invalid_handle(
            Handle::SessionNotFound,
            &call.client_session.to_string(),
        ));
    };
    let known = match wire::last_bytes(&call.message, execute::RELEASE_UNTIL).map_err(malformed)? {
        Some(until) => release_until(connect, &call, &id, until)?,
        None => release_all(connect, &call, &id),
    };
    Ok(rewrite::response(call.rpc, &record, Bytes::new(), |tail| {
        if known {
            wire::append_string(tail, RELEASED_OPERATION_ID, &id);
        }
    }))
}

fn release_until(connect: &Connect, call: &Call, id: &str, until: &[u8]) -> Result<bool, Status> {
    let Found::Live(operation) = connect.operations.find(call.session, id) else {
        return Ok(false);
    };
    let response_id = wire::last_text(until, execute::UNTIL_RESPONSE_ID).map_err(malformed)?;
    if let Some(position) = response_id.as_deref().and_then(Position::parse) {
        operation.outbox.release_until(position.position);
    }
    Ok(true)
}

fn release_all(connect: &Arc<Connect>, call: &Call, id: &str) -> bool {
    if connect.release(call.session, id) {
        return true;
    }
    // Another broker may have run it; then its driver still keeps the result.
    if matches!(connect.operations.find(call.session, id), Found::Unknown) {
        connect.release_elsewhere(call.clone(), id.to_owned());
    }
    false
}

impl Connect {
    /// Forgets an operation here and at its driver. Answers false if it is not here.
    pub(crate) fn release(&self, session: SessionId, id: &str) -> bool {
        let Some(operation) = self.operations.remove(session, id) else {
            return false;
        };
        operation.outbox.release_all();
        // One that cannot be reattached to ends with its stream.
        if operation.reattachable
            && let Some(target) = operation.running()
        {
            self.release_upstream(target);
        }
        true
    }

    fn release_upstream(&self, target: Target) {
        // Too many at once: the driver gives the rest up by its own timeout.
        let Ok(permit) = Arc::clone(&self.background).try_acquire_owned() else {
            return;
        };
        self.tasks
            .spawn_to_end("connect release", RELEASE_DEADLINE, async move {
                if let Err(fault) = target.release().await {
                    tracing::debug!(?fault, "a driver did not take note of a release");
                }
                drop(permit);
            });
    }

    fn release_elsewhere(self: &Arc<Self>, call: Call, operation: String) {
        let Ok(permit) = Arc::clone(&self.background).try_acquire_owned() else {
            return;
        };
        let connect = Arc::clone(self);
        self.tasks
            .spawn_to_end("connect release", RELEASE_DEADLINE, async move {
                if let Ok(route) = connect.route(&call).await {
                    let target = Target::known_by_id(route, operation, call.metadata);
                    if let Err(fault) = target.release().await {
                        tracing::debug!(?fault, "a driver did not take note of a release");
                    }
                }
                drop(permit);
            });
    }

    /// Gives up the operations that nobody has attached to for the detached timeout.
    pub(crate) fn sweep(&self) {
        let abandoned = self.operations.remove_abandoned(self.config.detached_timeout);
        for operation in abandoned {
            tracing::info!(session.id = %operation.session, operation = operation.id, "operation abandoned");
            operation.outbox.release_all();
            if let Some(target) = operation.running() {
                self.release_upstream(target);
            }
        }
        metrics::gauge!("berth_connect_operations").set(self.operations.len() as f64);
    }
}

/// ReleaseSession. A session that nobody knows is released already.
pub(crate) async fn release_session(connect: &Arc<Connect>, call: Call) -> Result<Message, Status> {
    let allow = wire::last_varint(&call.message, ALLOW_RECONNECT).map_err(malformed)?;
    let Some(record) = connect.record_of(&call).await? else {
        let mut body = Vec::new();
        wire::append_string(
            &mut body,
            call.rpc.layout().session_id,
            &call.client_session.to_string(),
        );
        return Ok(Bytes::from(body).into());
    };
    for operation in connect.operations.remove_session(call.session) {
        operation.outbox.release_all();
    }
    connect
        .close(call.session, CloseReason::Client, allow == Some(1))
        .await?;
    Ok(rewrite::response(call.rpc, &record, Bytes::new(), |_| {}))
}
