//! A driver that plays a script: enough of the service to see what Berth asks of one.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::server::Grpc;
use tonic::{Request, Response, Status, Streaming};
use uuid::Uuid;

use super::super::backend::{Upstream, UpstreamError};
use super::super::codec::{Message, RawCodec};
use super::super::errors::{Handle, invalid_handle};
use super::super::rpc::{Rpc, SESSION_ID, answer, execute};
use berth_core::wire;

/// What the driver does next in an execution.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// Sends a message with this field.
    Send(u32, &'static str),
    /// Is killed.
    Die,
    /// Ends the stream politely; the client is to reattach.
    End,
    /// Waits until the test lets it go on.
    Wait(Arc<Semaphore>),
    /// Ends the stream politely, and the session with it.
    Close,
    /// Fails with an error of its own.
    Fail(&'static str),
}

/// The usual script: a schema, batches, metrics, the end.
pub(super) fn rows(batches: &[&'static str]) -> Vec<Step> {
    let mut steps = vec![Step::Send(answer::SCHEMA, "schema")];
    steps.extend(batches.iter().map(|rows| Step::Send(answer::ARROW_BATCH, rows)));
    steps.push(Step::Send(4, "metrics"));
    steps.push(Step::Send(answer::RESULT_COMPLETE, ""));
    steps
}

/// A result that is cut off behind its batches.
pub(super) fn dies_after(batches: &[&'static str]) -> Vec<Step> {
    let mut steps = rows(batches);
    steps.truncate(batches.len() + 1);
    steps.push(Step::Die);
    steps
}

/// The script of a command that succeeds.
pub(super) fn done() -> Vec<Step> {
    vec![Step::Send(answer::RESULT_COMPLETE, "")]
}

#[derive(Debug)]
pub(super) struct StubDriver {
    script: Vec<Step>,
    /// An operation that sends one message and never ends, until its stream is cut.
    endless: Option<String>,
    cut: CancellationToken,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    dead: bool,
    closed: bool,
    sessions: HashMap<String, String>,
    operations: HashSet<String>,
    calls: Vec<(Rpc, Bytes)>,
}

type Answers = BoxStream<'static, Result<Message, Status>>;

impl StubDriver {
    /// What it says that it has interrupted, whatever it was asked.
    pub(super) const INTERRUPTED: &str = "what runs there";

    pub(super) fn new(script: Vec<Step>) -> Arc<Self> {
        Self::with_endless(script, None)
    }

    pub(super) fn with_endless(script: Vec<Step>, endless: Option<String>) -> Arc<Self> {
        let inner = Mutex::default();
        Arc::new(Self {
            script,
            endless,
            cut: CancellationToken::new(),
            inner,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    pub(super) fn kill(&self) {
        self.lock().dead = true;
    }

    /// Breaks the stream of the endless operation.
    pub(super) fn cut(&self) {
        self.cut.cancel();
    }

    pub(super) fn is_dead(&self) -> bool {
        self.lock().dead
    }

    /// True of one that would take another session.
    pub(super) fn is_free(&self) -> bool {
        let inner = self.lock();
        !inner.dead && !inner.closed
    }

    /// The requests of one kind that arrived.
    pub(super) fn calls(&self, rpc: Rpc) -> Vec<Bytes> {
        let inner = self.lock();
        inner
            .calls
            .iter()
            .filter(|(called, _)| *called == rpc)
            .map(|(_, request)| request.clone())
            .collect()
    }

    /// The connection that the backend gives out.
    pub(super) fn upstream(self: &Arc<Self>) -> Upstream {
        let driver = Arc::clone(self);
        Upstream::new(tower::service_fn(
            move |request: http::Request<tonic::body::Body>| {
                let driver = Arc::clone(&driver);
                async move { driver.serve(request).await }
            },
        ))
    }

    async fn serve(
        self: Arc<Self>,
        request: http::Request<tonic::body::Body>,
    ) -> Result<http::Response<tonic::body::Body>, UpstreamError> {
        if self.is_dead() {
            return Err(UpstreamError("connection refused".into()));
        }
        let rpc = Rpc::from_name(request.uri().path().rsplit('/').next().unwrap()).unwrap();
        let answered = tower::service_fn(move |request: Request<Streaming<Bytes>>| {
            let driver = Arc::clone(&self);
            async move { driver.answer(rpc, request.into_inner()).await.map(Response::new) }
        });
        Ok(Grpc::new(RawCodec).streaming(answered, request).await)
    }

    async fn answer(self: Arc<Self>, rpc: Rpc, mut requests: Streaming<Bytes>) -> Result<Answers, Status> {
        let mut all = Vec::new();
        while let Some(request) = requests.message().await? {
            all.push(request);
        }
        let request = Bytes::from(all.concat());
        self.lock().calls.push((rpc, request.clone()));
        let session = wire::last_text(&request, SESSION_ID).unwrap().unwrap();
        if self.lock().closed {
            return Err(invalid_handle(Handle::SessionClosed, &session));
        }
        let server_id = self.session(rpc, &session, &request)?;
        match rpc {
            Rpc::ExecutePlan => self.execute(&session, &server_id, &request),
            Rpc::ReattachExecute => self.reattach(&session, &server_id, &request),
            Rpc::GetStatus => Ok(self.status(&session, &server_id, &request)),
            _ => Ok(stream::once(std::future::ready(Ok(answer_with_ids(rpc, &session, &server_id)))).boxed()),
        }
    }

    /// All that it was ever given goes on, as far as it is concerned.
    fn status(&self, session: &str, server_id: &str, request: &Bytes) -> Answers {
        let mut message = answer_with_ids(Rpc::GetStatus, session, server_id).body.to_vec();
        let known = self.lock().operations.clone();
        let asked = wire::all_bytes(request, 5).unwrap().concat();
        let mut ids: Vec<_> = wire::all_bytes(&asked, 1).unwrap();
        if ids.is_empty() {
            ids.extend(known.iter().map(String::as_bytes));
        }
        for id in ids {
            let is_known = known.iter().any(|known| known.as_bytes() == id);
            let mut status = Vec::new();
            wire::append_bytes(&mut status, 1, id);
            wire::append_varint(&mut status, 2, if is_known { 2 } else { 1 });
            wire::append_bytes(&mut message, 3, &status);
        }
        stream::once(std::future::ready(Ok(Bytes::from(message).into()))).boxed()
    }

    fn session(&self, rpc: Rpc, session: &str, request: &Bytes) -> Result<String, Status> {
        let observed = rpc
            .layout()
            .observed
            .and_then(|number| wire::last_text(request, number).unwrap());
        let mut inner = self.lock();
        let fresh = || Uuid::new_v4().to_string();
        let server_id = inner
            .sessions
            .entry(session.to_owned())
            .or_insert_with(fresh)
            .clone();
        match observed {
            Some(observed) if observed != server_id => Err(invalid_handle(Handle::SessionChanged, session)),
            _ => Ok(server_id),
        }
    }

    fn execute(self: Arc<Self>, session: &str, server_id: &str, request: &Bytes) -> Result<Answers, Status> {
        let operation = wire::last_text(request, execute::OPERATION_ID).unwrap().unwrap();
        let is_endless = self.endless.as_ref() == Some(&operation);
        self.lock().operations.insert(operation);
        let cut = self.cut.clone();
        let played = self.play(session, server_id, 0);
        if is_endless {
            let dies = stream::once(async move {
                cut.cancelled().await;
                Err(Status::unavailable("connection reset"))
            });
            return Ok(played.take(1).chain(dies).boxed());
        }
        Ok(played)
    }

    fn reattach(self: Arc<Self>, session: &str, server_id: &str, request: &Bytes) -> Result<Answers, Status> {
        let operation = wire::last_text(request, execute::REATTACH_OPERATION_ID)
            .unwrap()
            .unwrap();
        if !self.lock().operations.contains(&operation) {
            return Err(invalid_handle(Handle::OperationNotFound, &operation));
        }
        let last = wire::last_text(request, execute::LAST_RESPONSE_ID).unwrap();
        let next = last.map_or(0, |last| last.parse::<usize>().unwrap() + 1);
        // A stream that ended politely goes on behind its end.
        let next = next + usize::from(matches!(self.script.get(next), Some(Step::End)));
        Ok(self.play(session, server_id, next))
    }

    fn play(self: Arc<Self>, session: &str, server_id: &str, from: usize) -> Answers {
        let ids = (session.to_owned(), server_id.to_owned());
        stream::unfold((self, ids, from, false), |(driver, ids, at, over)| async move {
            if over {
                return None;
            }
            let item = driver.step(&ids, at).await?;
            let over = item.is_err();
            let next = match &item {
                Ok((_, sent)) => sent + 1,
                Err(_) => at,
            };
            Some((item.map(|(message, _)| message), (driver, ids, next, over)))
        })
        .boxed()
    }

    async fn step(&self, ids: &(String, String), mut at: usize) -> Option<Result<(Message, usize), Status>> {
        loop {
            match self.script.get(at)? {
                Step::Send(number, payload) => {
                    return Some(Ok((execution_answer(ids, at, *number, payload), at)));
                }
                Step::Wait(gate) => gate.acquire().await.unwrap().forget(),
                Step::End => return None,
                Step::Close => {
                    self.lock().closed = true;
                    return None;
                }
                Step::Die => {
                    self.kill();
                    return Some(Err(Status::unavailable("connection reset")));
                }
                Step::Fail(text) => return Some(Err(Status::internal(*text))),
            }
            if self.is_dead() {
                return Some(Err(Status::unavailable("connection reset")));
            }
            at += 1;
        }
    }
}

fn execution_answer(ids: &(String, String), at: usize, number: u32, payload: &str) -> Message {
    let mut body = Vec::new();
    wire::append_string(&mut body, SESSION_ID, &ids.0);
    wire::append_string(&mut body, number, payload);
    wire::append_string(&mut body, answer::RESPONSE_ID, &at.to_string());
    wire::append_string(&mut body, Rpc::ExecutePlan.layout().server_session_id, &ids.1);
    Bytes::from(body).into()
}

fn answer_with_ids(rpc: Rpc, session: &str, server_id: &str) -> Message {
    let mut body = Vec::new();
    wire::append_string(&mut body, rpc.layout().session_id, session);
    wire::append_string(&mut body, rpc.layout().server_session_id, server_id);
    if rpc == Rpc::Interrupt {
        wire::append_string(&mut body, 2, StubDriver::INTERRUPTED);
    }
    Bytes::from(body).into()
}
