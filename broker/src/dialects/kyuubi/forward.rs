//! Calls about operations of other brokers: they are passed on as they came, and answered there.
//!
//! An operation's rows and its client's place in them are where it runs. Its id tells which broker that is, so a client
//! may send each call to any of them.

use std::sync::Arc;

use axum::extract::{OriginalUri, Path, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use berth_core::record::BrokerRecord;
use uuid::Uuid;

use super::Kyuubi;
use super::refusal::Refusal;
use crate::dialects::sql::peers::{Fault, PASSED_ON};
use crate::dialects::sql::place::Place;

/// Passes a call on if its operation runs at another broker.
pub(super) async fn to_its_broker(
    State(kyuubi): State<Arc<Kyuubi>>,
    Path(operation): Path<String>,
    OriginalUri(uri): OriginalUri,
    mut request: Request,
    next: Next,
) -> Response {
    let place = Uuid::try_parse(&operation).map(Place::of_operation);
    let elsewhere = place.ok().filter(|place| *place != kyuubi.engine.place);
    match elsewhere {
        Some(place) if !request.headers().contains_key(PASSED_ON) => {
            // Here, what the routes above have taken from the path is missing.
            *request.uri_mut() = uri;
            pass_on(&kyuubi, place, &operation, request)
                .await
                .unwrap_or_else(Refusal::into_response)
        }
        Some(_) | None => next.run(request).await,
    }
}

async fn pass_on(
    kyuubi: &Kyuubi,
    place: Place,
    operation: &str,
    request: Request,
) -> Result<Response, Refusal> {
    let operation: String = operation.chars().take(100).collect();
    let gone = || {
        Refusal::NotFound(format!(
            "Invalid OperationHandle [{operation}]: the broker that ran it has gone; run the statement again"
        ))
    };
    let broker = kyuubi.directory.broker_at(place).await?.ok_or_else(gone)?;
    let unreachable = || {
        Refusal::Unavailable(format!(
            "operation {operation} runs at broker {}, which tells no address; set broker.kyuubi.peer-address there",
            broker.id
        ))
    };
    let url = broker.kyuubi_url.as_deref().ok_or_else(unreachable)?;
    let answered = kyuubi.peers.call(&kyuubi.directory, place, url, request).await;
    answered.map_err(|fault| away(&broker, &operation, &fault))
}

fn away(broker: &BrokerRecord, operation: &str, fault: &Fault) -> Refusal {
    tracing::warn!(broker.id = %broker.id, error = %fault, "a call could not be passed on to another broker");
    Refusal::Unavailable(format!(
        "operation {operation} runs at broker {}, which does not answer",
        broker.id
    ))
}
