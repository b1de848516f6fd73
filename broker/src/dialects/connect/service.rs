//! The front of the dialect: one route that takes every method of the service.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::post;
use berth_runtime::telemetry::trace;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use http::HeaderMap;
use tonic::codec::CompressionEncoding;
use tonic::server::Grpc;
use tonic::{Code, Request, Status, Streaming};
use tracing::Instrument as _;

use super::codec::{MAX_MESSAGE_BYTES, RawCodec};
use super::rpc::{Rpc, SERVICE};
use super::stream::AnswerStream;
use super::{
    Connect, Identity, artifacts, clone, errors, execute, interrupt, reattach, release, status, unary,
};

/// The routes of the service, to be merged with others on one port.
///
/// A layer in front authenticates and puts an [`Identity`] into the extensions of the request; without one, the
/// user that the message names is believed.
pub fn service(connect: Arc<Connect>) -> Router {
    Router::new()
        .route("/spark.connect.SparkConnectService/{method}", post(handle))
        .with_state(connect)
}

async fn handle(
    State(connect): State<Arc<Connect>>,
    Path(method): Path<String>,
    request: http::Request<axum::body::Body>,
) -> Response {
    let Some(rpc) = Rpc::from_name(&method) else {
        return unimplemented(&method);
    };
    let span = tracing::info_span!(
        "connect",
        dialect = "connect",
        rpc = rpc.name(),
        session.id = tracing::field::Empty
    );
    trace::adopt(request.headers(), &span);
    let deadline = deadline(request.headers());
    let answered = tower::service_fn(move |request: Request<Streaming<Bytes>>| {
        let connect = Arc::clone(&connect);
        async move {
            answer(&connect, rpc, deadline, request)
                .await
                .map(tonic::Response::new)
        }
    });
    let mut grpc = Grpc::new(RawCodec)
        .accept_compressed(CompressionEncoding::Gzip)
        .accept_compressed(CompressionEncoding::Zstd)
        .max_decoding_message_size(MAX_MESSAGE_BYTES);
    let response = grpc.streaming(answered, request).instrument(span).await;
    response.map(axum::body::Body::new)
}

fn unimplemented(method: &str) -> Response {
    let status = Status::unimplemented(format!("Method not found: {SERVICE}/{method}"));
    status.into_http::<axum::body::Body>()
}

/// Answers one call, counts it and times it up to its first answer.
async fn answer(
    connect: &Arc<Connect>,
    rpc: Rpc,
    deadline: Option<Duration>,
    request: Request<Streaming<Bytes>>,
) -> Result<AnswerStream, Status> {
    let started = Instant::now();
    let answered = dispatch(connect, rpc, request);
    let answered = match deadline {
        // A stream of answers has its deadline with the client, which ends it and reattaches.
        Some(limit) => tokio::time::timeout(limit, answered)
            .await
            .unwrap_or_else(|elapsed| {
                Err(Status::deadline_exceeded(format!(
                    "{} was not done in time: {elapsed}",
                    rpc.name()
                )))
            }),
        None => answered.await,
    };
    let outcome = answered
        .as_ref()
        .map_or_else(|status| outcome(status.code()), |_| "ok");
    metrics::counter!("berth_requests_total", "dialect" => "connect", "rpc" => rpc.name(), "outcome" => outcome)
        .increment(1);
    metrics::histogram!("berth_request_seconds", "dialect" => "connect", "rpc" => rpc.name())
        .record(started.elapsed());
    answered
}

const fn outcome(code: Code) -> &'static str {
    match code {
        Code::Internal => "spark_error",
        Code::Unavailable => "unavailable",
        Code::DeadlineExceeded => "deadline",
        Code::ResourceExhausted => "exhausted",
        Code::PermissionDenied | Code::Unauthenticated => "denied",
        Code::Cancelled => "cancelled",
        _ => "error",
    }
}

async fn dispatch(
    connect: &Arc<Connect>,
    rpc: Rpc,
    request: Request<Streaming<Bytes>>,
) -> Result<AnswerStream, Status> {
    let (headers, extensions, mut messages) = request.into_parts();
    let first = messages.message().await.map_err(in_sparks_words)?;
    let first = first.ok_or_else(|| Status::internal("Half-closed without a request"))?;
    let identity = extensions.get::<Identity>().cloned();
    let call = connect.read_call(rpc, identity, headers, first)?;
    tracing::Span::current().record("session.id", tracing::field::display(call.session));
    let one = match rpc {
        Rpc::ExecutePlan => return Ok(execute::execute(connect, call).await?.into_stream()),
        Rpc::ReattachExecute => return Ok(reattach::reattach(connect, call).await?.into_stream()),
        Rpc::AnalyzePlan => unary::analyze(connect, call).await?,
        Rpc::Config => unary::config(connect, call).await?,
        Rpc::AddArtifacts => artifacts::add(connect, call, messages).await?,
        Rpc::Interrupt => interrupt::interrupt(connect, call).await?,
        Rpc::ReleaseExecute => release::release_execute(connect, call).await?,
        Rpc::ReleaseSession => release::release_session(connect, call).await?,
        Rpc::CloneSession => clone::clone(connect, call).await?,
        Rpc::GetStatus => status::get_status(connect, call).await?,
        Rpc::ArtifactStatus | Rpc::FetchErrorDetails => unary::forward(connect, &call).await?,
    };
    Ok(stream::once(std::future::ready(Ok(one))).boxed())
}

/// The gRPC library's words for a message over the limit, as Spark's server puts it.
fn in_sparks_words(status: Status) -> Status {
    if status.code() == Code::OutOfRange {
        errors::too_large(MAX_MESSAGE_BYTES)
    } else {
        status
    }
}

/// The time that the client gives the call: up to eight digits and a unit.
fn deadline(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > 8 {
        return None;
    }
    let amount: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(amount * 3600),
        "M" => Duration::from_secs(amount * 60),
        "S" => Duration::from_secs(amount),
        "m" => Duration::from_millis(amount),
        "u" => Duration::from_micros(amount),
        "n" => Duration::from_nanos(amount),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-timeout", text.parse().unwrap());
        deadline(&headers)
    }

    #[test]
    fn deadlines_are_read_and_nonsense_is_none() {
        assert_eq!(of("600S"), Some(Duration::from_secs(600)));
        assert_eq!(of("99999999n"), Some(Duration::from_nanos(99_999_999)));
        assert_eq!(of("1H"), Some(Duration::from_secs(3600)));
        assert_eq!(of("123456789S"), None);
        assert_eq!(of("S"), None);
        assert_eq!(of("5x"), None);
        assert_eq!(deadline(&HeaderMap::new()), None);
    }
}
