//! Calls with one message each way.

use std::sync::Arc;

use berth_core::connect::{self, Classified};
use berth_core::lineage::Class;
use bytes::Bytes;
use tonic::Status;
use uuid::Uuid;

use super::backend::Route;
use super::backend::{Ended, Intent};
use super::codec::Message;
use super::recorded::pack;
use super::session::{Call, once};
use super::{Connect, errors, rewrite, upstream};

/// AnalyzePlan: mostly questions, but `persist` and catalog operations inside a plan change state.
pub(crate) async fn analyze(connect: &Arc<Connect>, call: Call) -> Result<Message, Status> {
    let classified = connect::classify_analyze(&call.message).map_err(rewrite::malformed)?;
    by_class(connect, call, classified, "analyze").await
}

/// Config: `set` and `unset` change state.
pub(crate) async fn config(connect: &Arc<Connect>, call: Call) -> Result<Message, Status> {
    let classified = connect::classify_config(&call.message).map_err(rewrite::malformed)?;
    by_class(connect, call, classified, "config").await
}

async fn by_class(
    connect: &Arc<Connect>,
    call: Call,
    classified: Classified,
    kind: &'static str,
) -> Result<Message, Status> {
    if classified.class == Class::Read {
        return read(connect, &call, &classified.handles).await;
    }
    let owned = Arc::clone(connect);
    let work = async move { run_recorded(&owned, &call, classified, kind).await };
    connect.to_end("connect recorded call", work).await?
}

async fn read(connect: &Connect, call: &Call, handles: &[String]) -> Result<Message, Status> {
    let route = connect.route(call).await?;
    let asked = Arc::clone(&route.record);
    let answered = connect.on_driver(route, |route| send(call, route)).await;
    let (route, answer) = match answered {
        Ok(answered) => answered,
        Err(status) => {
            // The driver may have been lost under this very call. Without the store, what was known must do.
            let now = connect.record_of(call).await.ok().flatten().unwrap_or(asked);
            return Err(errors::explained(status, handles, &now));
        }
    };
    Ok(rewrite::response(call.rpc, &route.record, answer, |_| {}))
}

/// Passes a call on and its answer back, again on the next driver after a loss.
pub(crate) async fn forward(connect: &Arc<Connect>, call: &Call) -> Result<Message, Status> {
    read(connect, call, &[]).await
}

/// Passes a call on to the driver that serves the session there, once.
pub(super) async fn send(call: &Call, route: Route) -> Result<Bytes, Status> {
    let message = rewrite::request(call.rpc, &route, call.message.clone(), |_| {});
    upstream::unary(&route, call.rpc, message, &call.metadata).await
}

/// Runs a state change or a write with its intent and its outcome made durable around it.
async fn run_recorded(
    connect: &Arc<Connect>,
    call: &Call,
    classified: Classified,
    kind: &'static str,
) -> Result<Message, Status> {
    let route = connect.proved(connect.route(call).await?).await?;
    let what = classified.what.clone();
    let intent = intent(call, classified, kind);
    let class = intent.class;
    let ticket = connect.begin(&route, intent).await?;
    let ran = match class {
        Class::Write | Class::Pinned => once(route, &what, |route| send(call, route)).await,
        Class::Read | Class::State => connect.on_driver(route, |route| send(call, route)).await,
    };
    connect.finish(ticket, ended(&ran)).await?;
    let (route, answer) = ran?;
    connect.count_statement(&route.record.tenant, class, &Ok(()));
    Ok(rewrite::response(call.rpc, &route.record, answer, |_| {}))
}

/// How a call with one answer ended.
pub(crate) fn ended(ran: &Result<(Route, Bytes), Status>) -> Ended {
    match ran {
        Ok((_, answer)) => Ended::Succeeded(Some(pack([answer.as_ref()]))),
        Err(status) => Ended::Failed(status.clone()),
    }
}

fn intent(call: &Call, classified: Classified, kind: &'static str) -> Intent {
    Intent {
        operation: Uuid::new_v4().to_string(),
        alias: String::new(),
        class: classified.class,
        call: kind.to_owned(),
        what: classified.what,
        key: classified.key,
        payload: call.message.clone(),
        blobs: Vec::new(),
        fingerprint: super::execute::fingerprint(&call.message),
    }
}
