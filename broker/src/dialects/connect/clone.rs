//! CloneSession: a new session with the state of another one.
//!
//! The new session gets a place of its own and its state by replaying the lineage of the first: both recover
//! independently from then on. What only the first one's driver has (checkpoints, models) is not in the clone.

use std::sync::Arc;

use berth_core::ids::SessionId;
use berth_core::lineage::replay::{self, Step as Replay};
use berth_core::lineage::{Class, LineageEntry};
use berth_core::wire;
use bytes::Bytes;
use tonic::Status;
use uuid::Uuid;

use super::Connect;
use super::backend::{Ended, Intent, Route};
use super::codec::Message;
use super::errors::{self, Handle, invalid_handle};
use super::loss::Fault;
use super::rebuild::{Step, replay as send};
use super::rewrite::{self, malformed};
use super::session::{Call, parse_handle};
use crate::place::connect::drop_temp_view;

/// `CloneSessionRequest.new_session_id`.
const NEW_SESSION_ID: u32 = 4;
/// `CloneSessionResponse.new_session_id`.
const CLONED_SESSION_ID: u32 = 3;
/// `CloneSessionResponse.new_server_side_session_id`.
const CLONED_SERVER_SESSION_ID: u32 = 4;

/// Clones the session of the call.
pub(crate) async fn clone(connect: &Arc<Connect>, call: Call) -> Result<Message, Status> {
    let asked = wire::last_text(&call.message, NEW_SESSION_ID).map_err(malformed)?;
    let new_id = match asked {
        Some(id) => parse_handle(&id)?,
        None => Uuid::new_v4(),
    };
    let Some(source) = connect.record_of(&call).await? else {
        return Err(invalid_handle(
            Handle::SessionNotFound,
            &call.client_session.to_string(),
        ));
    };
    let cloned = call.for_session(new_id);
    if connect.record_of(&cloned).await?.is_some() {
        return Err(errors::clone_exists(&new_id.to_string()));
    }
    let owned = Arc::clone(connect);
    let from = call.session;
    let work = async move { copy(&owned, from, &cloned).await };
    let route = connect.to_end("connect clone", work).await??;
    Ok(rewrite::response(call.rpc, &source, Bytes::new(), |tail| {
        wire::append_string(tail, CLONED_SESSION_ID, &new_id.to_string());
        wire::append_string(
            tail,
            CLONED_SERVER_SESSION_ID,
            &route.record.server_session_id.to_string(),
        );
    }))
}

/// Opens a new session with the state of another one.
///
/// # Errors
/// Why it has no place, or what of the state could not be made.
pub(super) async fn copy(connect: &Arc<Connect>, from: SessionId, to: &Call) -> Result<Route, Status> {
    let mut route = connect.open(to).await?;
    let entries = connect.entries(from).await?;
    for step in replay::plan(&entries) {
        let step = match step {
            Replay::Send(entry) => {
                let request = connect.payload(from, &entry.payload).await?;
                Step {
                    entry: entry.clone(),
                    request,
                }
            }
            Replay::DropTempView { entry, name } => {
                // In the clone it is what it was for the first session's views: a change of state.
                let entry = LineageEntry {
                    class: Class::State,
                    ..entry.clone()
                };
                Step {
                    entry,
                    request: drop_temp_view(name),
                }
            }
        };
        route = copy_step(connect, route, step).await?;
    }
    Ok(route)
}

/// Runs one entry in the new session, recorded there like any other operation.
async fn copy_step(connect: &Arc<Connect>, route: Route, step: Step) -> Result<Route, Status> {
    let intent = Intent {
        operation: Uuid::new_v4().to_string(),
        alias: String::new(),
        class: step.entry.class,
        call: step.entry.call.clone(),
        what: step.entry.what.clone(),
        key: step.entry.key.clone(),
        payload: step.request.clone(),
        blobs: step.entry.blobs.clone(),
        fingerprint: step.entry.fingerprint,
    };
    let ticket = connect.begin(&route, intent).await?;
    let ran = connect.on_driver(route.clone(), |route| send(route, &step)).await;
    let (route, ended) = match ran {
        Ok((route, answer)) => (route, Ended::Succeeded(Some(answer))),
        Err(status) => {
            let Fault::Answer(status) = Fault::of(status.clone()) else {
                return Err(status);
            };
            // The first session got past this entry too, or has the same gap.
            (route, Ended::Failed(status))
        }
    };
    connect.finish(ticket, ended).await?;
    Ok(route)
}
