//! A client that speaks to the dialect's service without a network.

use std::sync::Arc;

use axum::Router;
use berth_core::wire;
use berth_runtime::tasks::Tasks;
use bytes::Bytes;
use tonic::client::Grpc;
use tonic::{Request, Status, Streaming};
use uuid::Uuid;

use super::super::codec::RawCodec;
use super::super::rpc::{Rpc, SESSION_ID, USER_CONTEXT, answer, execute};
use super::super::{Connect, ConnectConfig, service};
use super::fakes::FakeBackend;

pub(super) struct Client {
    router: Router,
    pub(super) session: String,
}

/// A broker replica over the backend, and a client of it.
pub(super) fn replica(backend: &Arc<FakeBackend>) -> Client {
    let connect = Connect::new(
        Arc::clone(backend) as _,
        ConnectConfig::default(),
        Tasks::default(),
    );
    Client {
        router: service(connect),
        session: Uuid::from_u128(7).to_string(),
    }
}

/// What a stream brought: the payload field numbers and texts in order.
#[derive(Debug, Default)]
pub(super) struct Got {
    pub(super) messages: Vec<Bytes>,
}

impl Got {
    pub(super) fn batches(&self) -> Vec<String> {
        let batches = self
            .messages
            .iter()
            .filter_map(|message| wire::last_text(message, answer::ARROW_BATCH).unwrap());
        batches.collect()
    }

    pub(super) fn is_complete(&self) -> bool {
        let last = self.messages.last();
        last.is_some_and(|last| wire::last_bytes(last, answer::RESULT_COMPLETE).unwrap().is_some())
    }

    pub(super) fn last_id(&self) -> String {
        wire::last_text(self.messages.last().unwrap(), answer::RESPONSE_ID)
            .unwrap()
            .unwrap()
    }

    pub(super) fn server_ids(&self) -> Vec<String> {
        let number = Rpc::ExecutePlan.layout().server_session_id;
        self.messages
            .iter()
            .map(|message| wire::last_text(message, number).unwrap().unwrap())
            .collect()
    }
}

/// Reads a stream to its end.
pub(super) async fn all(mut stream: Streaming<Bytes>) -> (Got, Result<(), Status>) {
    let mut got = Got::default();
    loop {
        match stream.message().await {
            Ok(Some(message)) => got.messages.push(message),
            Ok(None) => return (got, Ok(())),
            Err(status) => return (got, Err(status)),
        }
    }
}

/// The id of an operation.
pub(super) fn op(number: u128) -> String {
    Uuid::from_u128(number).to_string()
}

/// A range: a plan that only reads.
pub(super) fn read() -> Vec<u8> {
    let mut relation = Vec::new();
    wire::append_bytes(&mut relation, 15, &[]);
    plan(1, &relation)
}

/// A write_operation: a plan with effects outside.
pub(super) fn write() -> Vec<u8> {
    let mut command = Vec::new();
    wire::append_bytes(&mut command, 2, &[]);
    plan(2, &command)
}

/// A create_dataframe_view: a plan that changes the session.
pub(super) fn view(name: &str) -> Vec<u8> {
    let mut body = Vec::new();
    wire::append_string(&mut body, 2, name);
    let mut command = Vec::new();
    wire::append_bytes(&mut command, 3, &body);
    plan(2, &command)
}

/// A streaming_query_listener_bus_command: opens the stream of events, or closes it.
pub(super) fn events(opens: bool) -> Vec<u8> {
    let mut body = Vec::new();
    wire::append_varint(&mut body, if opens { 1 } else { 2 }, 1);
    let mut command = Vec::new();
    wire::append_bytes(&mut command, 11, &body);
    plan(2, &command)
}

fn plan(number: u32, operation: &[u8]) -> Vec<u8> {
    let mut plan = Vec::new();
    wire::append_bytes(&mut plan, number, operation);
    plan
}

impl Client {
    pub(super) fn request(&self) -> Vec<u8> {
        let mut request = Vec::new();
        wire::append_string(&mut request, SESSION_ID, &self.session);
        let mut user = Vec::new();
        wire::append_string(&mut user, 1, "ann");
        wire::append_bytes(&mut request, USER_CONTEXT, &user);
        request
    }

    pub(super) async fn call(&self, rpc: Rpc, request: Vec<u8>) -> Result<Bytes, Status> {
        let mut stream = self.stream(rpc, request).await?;
        Ok(stream.message().await?.unwrap())
    }

    pub(super) async fn stream(&self, rpc: Rpc, request: Vec<u8>) -> Result<Streaming<Bytes>, Status> {
        let mut grpc = Grpc::new(self.router.clone());
        grpc.ready().await.unwrap();
        let message = Bytes::from(request).into();
        Ok(grpc
            .server_streaming(Request::new(message), rpc.path(), RawCodec)
            .await?
            .into_inner())
    }

    pub(super) async fn execute(&self, operation: &str, plan: &[u8]) -> Result<Streaming<Bytes>, Status> {
        let mut request = self.request();
        wire::append_bytes(&mut request, execute::PLAN, plan);
        wire::append_string(&mut request, execute::OPERATION_ID, operation);
        let mut options = Vec::new();
        wire::append_varint(&mut options, execute::REATTACHABLE, 1);
        let mut option = Vec::new();
        wire::append_bytes(&mut option, execute::REATTACH_OPTIONS, &options);
        wire::append_bytes(&mut request, execute::REQUEST_OPTIONS, &option);
        self.stream(Rpc::ExecutePlan, request).await
    }

    pub(super) async fn reattach(
        &self,
        operation: &str,
        last: Option<&str>,
    ) -> Result<Streaming<Bytes>, Status> {
        let mut request = self.request();
        wire::append_string(&mut request, execute::REATTACH_OPERATION_ID, operation);
        if let Some(last) = last {
            wire::append_string(&mut request, execute::LAST_RESPONSE_ID, last);
        }
        self.stream(Rpc::ReattachExecute, request).await
    }

    pub(super) async fn release_all(&self, operation: &str) -> Result<Bytes, Status> {
        let mut request = self.request();
        wire::append_string(&mut request, execute::REATTACH_OPERATION_ID, operation);
        wire::append_bytes(&mut request, execute::RELEASE_ALL, &[]);
        self.call(Rpc::ReleaseExecute, request).await
    }

    pub(super) async fn set_conf(&self, key: &str) -> Result<Bytes, Status> {
        let mut pair = Vec::new();
        wire::append_string(&mut pair, 1, key);
        let mut set = Vec::new();
        wire::append_bytes(&mut set, 1, &pair);
        let mut operation = Vec::new();
        wire::append_bytes(&mut operation, 1, &set);
        let mut request = self.request();
        wire::append_bytes(&mut request, 3, &operation);
        self.call(Rpc::Config, request).await
    }
}
