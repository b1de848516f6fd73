//! One execution on one driver, followed over the reattach protocol that drivers speak.
//!
//! A driver ends a stream politely after two minutes or a gigabyte; an attempt goes on behind its caller's back.
//! What it cannot go on from is a [`Fault`].

use bytes::Bytes;
use tonic::metadata::MetadataMap;
use tonic::{Status, Streaming};

use berth_core::record::Cause;
use berth_core::wire;

use super::backend::Route;
use super::codec::Message;
use super::loss::Fault;
use super::rewrite::{self, Answer, Kind};
use super::rpc::{Rpc, execute};
use super::upstream;

/// How an attempt begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Start {
    /// Send the plan.
    Execute,
    /// Continue after the driver's message with this id; from the first one if `None`.
    Reattach(Option<String>),
}

/// What to run, and where.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// The session's place.
    pub(crate) route: Route,
    /// The operation's id there.
    pub(crate) operation: String,
    /// The client's request; `None` when only a reattach is possible.
    pub(crate) request: Option<Bytes>,
    /// True when the execution can be continued after its stream ended.
    pub(crate) reattachable: bool,
    /// Headers for the driver.
    pub(crate) metadata: MetadataMap,
}

/// An execution on a driver.
#[derive(Debug)]
pub(crate) struct Attempt {
    target: Target,
    stream: Streaming<Bytes>,
    last: Option<String>,
    complete: bool,
    /// Streams in a row that ended without bringing a message.
    barren: u32,
}

/// A driver that ends stream after stream without a message is not serving the operation.
const MAX_BARREN_STREAMS: u32 = 8;

impl Attempt {
    /// Starts or continues an execution.
    ///
    /// # Errors
    /// What the driver, or the lack of it, said.
    pub(crate) async fn start(target: Target, start: Start) -> Result<Self, Fault> {
        let last = match &start {
            Start::Execute => None,
            Start::Reattach(last) => last.clone(),
        };
        let stream = match start {
            Start::Execute => target.execute().await?,
            Start::Reattach(_) => target.reattach(last.as_deref()).await?,
        };
        Ok(Self {
            target,
            stream,
            last,
            complete: false,
            barren: 0,
        })
    }

    /// The id of the driver's last message, to continue after it.
    pub(crate) fn last(&self) -> Option<&str> {
        self.last.as_deref()
    }

    /// Waits for the next message; `None` at the end of the result.
    ///
    /// # Errors
    /// What the driver, or the lack of it, said.
    pub(crate) async fn next(&mut self) -> Result<Option<Answer>, Fault> {
        loop {
            let message = tokio::select! {
                message = self.stream.message() => message,
                () = self.target.route.over.cancelled() => Err(upstream::left()),
            };
            match message.map_err(Fault::of)? {
                Some(message) => return self.on_message(message).map(Some),
                None if self.complete || !self.target.reattachable => return Ok(None),
                None => self.continue_stream().await?,
            }
        }
    }

    fn on_message(&mut self, message: Bytes) -> Result<Answer, Fault> {
        let answer = Answer::read(message).map_err(Fault::Answer)?;
        if !self.target.serves(&answer) {
            return Err(Fault::Lost {
                cause: Cause::DriverLost,
                refused: false,
                status: Status::unavailable("the driver answered for another session"),
            });
        }
        self.barren = 0;
        self.complete = answer.kind == Kind::Complete;
        if !answer.response_id.is_empty() {
            self.last = Some(answer.response_id.clone());
        }
        Ok(answer)
    }

    async fn continue_stream(&mut self) -> Result<(), Fault> {
        self.barren += 1;
        if self.barren > MAX_BARREN_STREAMS {
            return Err(Fault::NoOperation(Status::unavailable(
                "the driver ends its streams without an answer",
            )));
        }
        self.stream = self.target.reattach(self.last.as_deref()).await?;
        Ok(())
    }
}

impl Target {
    /// False when the answer comes from another session than the one that was prepared: the driver was replaced.
    fn serves(&self, answer: &Answer) -> bool {
        let expected = self.route.upstream_server_session_id.as_ref();
        expected.is_empty() || answer.server_session_id.is_empty() || answer.server_session_id == expected
    }

    async fn execute(&self) -> Result<Streaming<Bytes>, Fault> {
        let Some(request) = self.request.clone() else {
            return Err(Fault::NoOperation(Status::internal(
                "the plan of this operation is not known here",
            )));
        };
        let message = rewrite::request(Rpc::ExecutePlan, &self.route, request, |tail| {
            wire::append_string(tail, execute::OPERATION_ID, &self.operation);
        });
        self.call(Rpc::ExecutePlan, message).await
    }

    async fn reattach(&self, last: Option<&str>) -> Result<Streaming<Bytes>, Fault> {
        let message = rewrite::request(Rpc::ReattachExecute, &self.route, Bytes::new(), |tail| {
            wire::append_string(tail, execute::REATTACH_OPERATION_ID, &self.operation);
            if let Some(last) = last {
                wire::append_string(tail, execute::LAST_RESPONSE_ID, last);
            }
        });
        self.call(Rpc::ReattachExecute, message).await
    }

    async fn call(&self, rpc: Rpc, message: Message) -> Result<Streaming<Bytes>, Fault> {
        upstream::stream(&self.route, rpc, message, &self.metadata)
            .await
            .map_err(Fault::of)
    }

    /// An operation of which only the id is known.
    pub(crate) fn known_by_id(route: Route, operation: String, metadata: MetadataMap) -> Self {
        Self {
            route,
            operation,
            request: None,
            reattachable: true,
            metadata,
        }
    }

    /// Tells the driver that the operation's result is not wanted any more. The driver stops it if it runs.
    pub(crate) async fn release(&self) -> Result<(), Fault> {
        let message = rewrite::request(Rpc::ReleaseExecute, &self.route, Bytes::new(), |tail| {
            wire::append_string(tail, execute::REATTACH_OPERATION_ID, &self.operation);
            wire::append_bytes(tail, execute::RELEASE_ALL, &[]);
        });
        let released = upstream::unary(&self.route, Rpc::ReleaseExecute, message, &self.metadata).await;
        released.map(drop).map_err(Fault::of)
    }
}
