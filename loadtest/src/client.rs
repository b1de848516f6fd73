//! A Spark Connect client that counts bytes and decodes no Arrow.

use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http::uri::PathAndQuery;
use prost::Message;
use tonic::client::Grpc;
use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue, MetadataMap};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};
use uuid::Uuid;

use crate::codec::{MAX_MESSAGE_BYTES, RawCodec};
use crate::messages::{
    AnyRequest, Command, ConfigGet, ConfigOperation, ConfigRequest, ConfigResponse, ConfigSet, Empty,
    ExecuteRequest, ExecuteResponse, KeyValue, Plan, ReattachOptions, ReattachRequest, Relation,
    ReleaseRequest, RequestOption, Sql, UserContext,
};
use crate::target::Target;

const WINDOW_BYTES: u32 = 8 << 20;
const MAX_REATTACHES: u32 = 64;

/// What a result consisted of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Received {
    /// Bytes of Arrow data.
    pub bytes: u64,
    /// Rows.
    pub rows: u64,
    /// Messages of all kinds.
    pub messages: u64,
}

/// One session of a Spark Connect server. Clones share the connection and the session.
#[derive(Debug, Clone)]
pub struct Client {
    channel: Channel,
    metadata: MetadataMap,
    user: String,
    session: Uuid,
}

fn path(method: &'static str) -> PathAndQuery {
    PathAndQuery::from_static(method)
}

fn metadata_of(target: &Target) -> anyhow::Result<MetadataMap> {
    let mut metadata = MetadataMap::new();
    if let Some(token) = &target.token {
        let value = format!("Bearer {token}").parse::<AsciiMetadataValue>();
        metadata.insert("authorization", value.context("the token is not a header value")?);
    }
    for (key, value) in &target.headers {
        let name = key
            .parse::<AsciiMetadataKey>()
            .with_context(|| format!("{key:?} is not a header name"))?;
        metadata.insert(
            name,
            value
                .parse::<AsciiMetadataValue>()
                .context("not a header value")?,
        );
    }
    Ok(metadata)
}

impl Client {
    /// Connects with a new session.
    ///
    /// # Errors
    /// When nobody listens there.
    pub async fn connect(target: &Target) -> anyhow::Result<Self> {
        let endpoint = Endpoint::from_shared(format!("http://{}", target.authority))?
            .connect_timeout(Duration::from_secs(5))
            .tcp_nodelay(true)
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES);
        let channel = endpoint
            .connect()
            .await
            .with_context(|| format!("connecting to {}", target.authority))?;
        Ok(Self {
            channel,
            metadata: metadata_of(target)?,
            user: target.user.clone(),
            session: Uuid::new_v4(),
        })
    }

    /// The client's id of its session.
    pub fn session(&self) -> Uuid {
        self.session
    }

    /// The user of the session.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The connection, for other services of the same server.
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// The headers of every call.
    pub fn metadata(&self) -> &MetadataMap {
        &self.metadata
    }

    /// The same connection with a session of its own.
    #[must_use]
    pub fn with_new_session(&self) -> Self {
        Self {
            session: Uuid::new_v4(),
            ..self.clone()
        }
    }

    /// Reads a conf.
    ///
    /// # Errors
    /// The server's status.
    pub async fn config_get(&self, key: &str) -> Result<Option<String>, Status> {
        let get = ConfigGet {
            keys: vec![key.to_owned()],
        };
        let answer = self
            .config(ConfigOperation {
                set: None,
                get: Some(get),
            })
            .await?;
        Ok(answer.pairs.into_iter().next().and_then(|pair| pair.value))
    }

    /// Sets a conf.
    ///
    /// # Errors
    /// The server's status.
    pub async fn config_set(&self, key: &str, value: &str) -> Result<(), Status> {
        let pair = KeyValue {
            key: key.to_owned(),
            value: Some(value.to_owned()),
        };
        let set = ConfigSet { pairs: vec![pair] };
        self.config(ConfigOperation {
            set: Some(set),
            get: None,
        })
        .await
        .map(drop)
    }

    async fn config(&self, operation: ConfigOperation) -> Result<ConfigResponse, Status> {
        let request = ConfigRequest {
            session_id: self.session.to_string(),
            user_context: self.user_context(),
            operation: Some(operation),
        };
        let answer = self
            .unary("/spark.connect.SparkConnectService/Config", &request)
            .await?;
        ConfigResponse::decode(answer).map_err(|error| Status::internal(error.to_string()))
    }

    /// Runs a query to its end over a stream that can be reattached, then releases it, as PySpark does.
    ///
    /// # Errors
    /// The server's status; `DATA_LOSS` when streams end again and again before the result does.
    pub async fn query(&self, sql: &str) -> Result<Received, Status> {
        let relation = Relation {
            sql: Some(Sql {
                query: sql.to_owned(),
            }),
        };
        self.execute(Plan {
            root: Some(relation),
            command: None,
        })
        .await
    }

    /// Runs a statement at once, as `spark.sql` does.
    ///
    /// # Errors
    /// As [`Client::query`].
    pub async fn command(&self, sql: &str) -> Result<Received, Status> {
        let command = Command {
            sql_command: Some(Sql {
                query: sql.to_owned(),
            }),
        };
        self.execute(Plan {
            root: None,
            command: Some(command),
        })
        .await
    }

    async fn execute(&self, plan: Plan) -> Result<Received, Status> {
        let operation = Uuid::new_v4().to_string();
        let reattach_options = Some(ReattachOptions { reattachable: true });
        let request = ExecuteRequest {
            session_id: self.session.to_string(),
            user_context: self.user_context(),
            plan: Some(plan),
            request_options: vec![RequestOption { reattach_options }],
            operation_id: Some(operation.clone()),
        };
        let stream = self
            .stream("/spark.connect.SparkConnectService/ExecutePlan", &request)
            .await?;
        let received = self.follow(stream, &operation).await?;
        self.release(operation).await?;
        Ok(received)
    }

    async fn follow(&self, mut stream: Streaming<Bytes>, operation: &str) -> Result<Received, Status> {
        let mut received = Received::default();
        let mut last = None;
        for _ in 0..MAX_REATTACHES {
            while let Some(message) = stream.message().await? {
                let answer =
                    ExecuteResponse::decode(message).map_err(|error| Status::internal(error.to_string()))?;
                received.messages += 1;
                if let Some(batch) = &answer.arrow_batch {
                    received.bytes += batch.data.len() as u64;
                    received.rows += u64::try_from(batch.row_count).unwrap_or_default();
                }
                if answer.result_complete.is_some() {
                    return Ok(received);
                }
                last = Some(answer.response_id);
            }
            stream = self.reattach(operation, last.clone()).await?;
        }
        Err(Status::data_loss(
            "the result's stream ended again and again before the result did",
        ))
    }

    async fn reattach(&self, operation: &str, last: Option<String>) -> Result<Streaming<Bytes>, Status> {
        let request = ReattachRequest {
            session_id: self.session.to_string(),
            user_context: self.user_context(),
            operation_id: operation.to_owned(),
            last_response_id: last,
        };
        self.stream("/spark.connect.SparkConnectService/ReattachExecute", &request)
            .await
    }

    async fn release(&self, operation: String) -> Result<(), Status> {
        let request = ReleaseRequest {
            session_id: self.session.to_string(),
            user_context: self.user_context(),
            operation_id: operation,
            release_all: Some(Empty {}),
        };
        self.unary("/spark.connect.SparkConnectService/ReleaseExecute", &request)
            .await
            .map(drop)
    }

    /// Ends the session.
    ///
    /// # Errors
    /// The server's status.
    pub async fn close(&self) -> Result<(), Status> {
        let request = AnyRequest {
            session_id: self.session.to_string(),
            user_context: self.user_context(),
        };
        self.unary("/spark.connect.SparkConnectService/ReleaseSession", &request)
            .await
            .map(drop)
    }

    fn user_context(&self) -> Option<UserContext> {
        Some(UserContext {
            user_id: self.user.clone(),
        })
    }

    async fn ready(&self) -> Result<Grpc<Channel>, Status> {
        let mut grpc = Grpc::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES);
        grpc.ready()
            .await
            .map_err(|error| Status::from_error(error.into()))?;
        Ok(grpc)
    }

    fn request(&self, message: &impl Message) -> Request<Bytes> {
        let mut request = Request::new(Bytes::from(message.encode_to_vec()));
        *request.metadata_mut() = self.metadata.clone();
        request
    }

    async fn unary(&self, method: &'static str, message: &impl Message) -> Result<Bytes, Status> {
        let request = self.request(message);
        let answer = self.ready().await?.unary(request, path(method), RawCodec).await?;
        Ok(answer.into_inner())
    }

    async fn stream(&self, method: &'static str, message: &impl Message) -> Result<Streaming<Bytes>, Status> {
        let request = self.request(message);
        let answer = self
            .ready()
            .await?
            .server_streaming(request, path(method), RawCodec)
            .await?;
        Ok(answer.into_inner())
    }
}
