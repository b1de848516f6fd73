//! The few messages of Spark Connect that a load generator and a stub need, by field number.
//!
//! Oneofs are written as optional fields: on the wire they are the same.

use bytes::Bytes;
use prost::Message;

/// Who asks.
#[derive(Clone, PartialEq, Message)]
pub struct UserContext {
    /// The user.
    #[prost(string, tag = "1")]
    pub user_id: String,
}

/// Fields that every request begins with.
#[derive(Clone, PartialEq, Message)]
pub struct AnyRequest {
    /// The client's session id.
    #[prost(string, tag = "1")]
    pub session_id: String,
    /// Who asks.
    #[prost(message, optional, tag = "2")]
    pub user_context: Option<UserContext>,
}

/// A key with a value, or without.
#[derive(Clone, PartialEq, Message)]
pub struct KeyValue {
    /// The key.
    #[prost(string, tag = "1")]
    pub key: String,
    /// The value.
    #[prost(string, optional, tag = "2")]
    pub value: Option<String>,
}

/// Keys and values to set.
#[derive(Clone, PartialEq, Message)]
pub struct ConfigSet {
    /// What to set.
    #[prost(message, repeated, tag = "1")]
    pub pairs: Vec<KeyValue>,
}

/// Keys to read.
#[derive(Clone, PartialEq, Message)]
pub struct ConfigGet {
    /// The keys.
    #[prost(string, repeated, tag = "1")]
    pub keys: Vec<String>,
}

/// What a [`ConfigRequest`] asks for: one of these.
#[derive(Clone, PartialEq, Message)]
pub struct ConfigOperation {
    /// Set values.
    #[prost(message, optional, tag = "1")]
    pub set: Option<ConfigSet>,
    /// Read values.
    #[prost(message, optional, tag = "2")]
    pub get: Option<ConfigGet>,
}

/// `Config`.
#[derive(Clone, PartialEq, Message)]
pub struct ConfigRequest {
    /// The client's session id.
    #[prost(string, tag = "1")]
    pub session_id: String,
    /// Who asks.
    #[prost(message, optional, tag = "2")]
    pub user_context: Option<UserContext>,
    /// What to do.
    #[prost(message, optional, tag = "3")]
    pub operation: Option<ConfigOperation>,
}

/// The answer of `Config`.
#[derive(Clone, PartialEq, Message)]
pub struct ConfigResponse {
    /// The client's session id.
    #[prost(string, tag = "1")]
    pub session_id: String,
    /// The values.
    #[prost(message, repeated, tag = "2")]
    pub pairs: Vec<KeyValue>,
    /// The server's id of the session.
    #[prost(string, tag = "4")]
    pub server_side_session_id: String,
}

/// A query in SQL, as a relation or as a command.
#[derive(Clone, PartialEq, Message)]
pub struct Sql {
    /// The text.
    #[prost(string, tag = "1")]
    pub query: String,
}

/// A relation; only the SQL kind.
#[derive(Clone, PartialEq, Message)]
pub struct Relation {
    /// A query.
    #[prost(message, optional, tag = "10")]
    pub sql: Option<Sql>,
}

/// A command; only the SQL kind.
#[derive(Clone, PartialEq, Message)]
pub struct Command {
    /// A statement, run at once.
    #[prost(message, optional, tag = "5")]
    pub sql_command: Option<Sql>,
}

/// A plan: one of these.
#[derive(Clone, PartialEq, Message)]
pub struct Plan {
    /// A relation whose rows are wanted.
    #[prost(message, optional, tag = "1")]
    pub root: Option<Relation>,
    /// A command.
    #[prost(message, optional, tag = "2")]
    pub command: Option<Command>,
}

/// Asks for a stream that can be continued.
#[derive(Clone, PartialEq, Message)]
pub struct ReattachOptions {
    /// True to be able to reattach.
    #[prost(bool, tag = "1")]
    pub reattachable: bool,
}

/// An option of [`ExecuteRequest`].
#[derive(Clone, PartialEq, Message)]
pub struct RequestOption {
    /// Reattaching.
    #[prost(message, optional, tag = "1")]
    pub reattach_options: Option<ReattachOptions>,
}

/// `ExecutePlan`.
#[derive(Clone, PartialEq, Message)]
pub struct ExecuteRequest {
    /// The client's session id.
    #[prost(string, tag = "1")]
    pub session_id: String,
    /// Who asks.
    #[prost(message, optional, tag = "2")]
    pub user_context: Option<UserContext>,
    /// What to run.
    #[prost(message, optional, tag = "3")]
    pub plan: Option<Plan>,
    /// Options.
    #[prost(message, repeated, tag = "5")]
    pub request_options: Vec<RequestOption>,
    /// The client's id of the execution.
    #[prost(string, optional, tag = "6")]
    pub operation_id: Option<String>,
}

/// Nothing.
#[derive(Clone, PartialEq, Message)]
pub struct Empty {}

/// `ReattachExecute`.
#[derive(Clone, PartialEq, Message)]
pub struct ReattachRequest {
    /// The client's session id.
    #[prost(string, tag = "1")]
    pub session_id: String,
    /// Who asks.
    #[prost(message, optional, tag = "2")]
    pub user_context: Option<UserContext>,
    /// The execution.
    #[prost(string, tag = "3")]
    pub operation_id: String,
    /// The last response received.
    #[prost(string, optional, tag = "5")]
    pub last_response_id: Option<String>,
}

/// `ReleaseExecute` of a whole execution.
#[derive(Clone, PartialEq, Message)]
pub struct ReleaseRequest {
    /// The client's session id.
    #[prost(string, tag = "1")]
    pub session_id: String,
    /// Who asks.
    #[prost(message, optional, tag = "2")]
    pub user_context: Option<UserContext>,
    /// The execution.
    #[prost(string, tag = "3")]
    pub operation_id: String,
    /// Present: everything of it.
    #[prost(message, optional, tag = "5")]
    pub release_all: Option<Empty>,
}

/// Rows.
#[derive(Clone, PartialEq, Message)]
pub struct ArrowBatch {
    /// How many.
    #[prost(int64, tag = "1")]
    pub row_count: i64,
    /// An Arrow IPC stream.
    #[prost(bytes = "bytes", tag = "2")]
    pub data: Bytes,
    /// Rows before this batch.
    #[prost(int64, optional, tag = "3")]
    pub start_offset: Option<i64>,
}

/// A message of an execution's stream.
#[derive(Clone, PartialEq, Message)]
pub struct ExecuteResponse {
    /// The client's session id.
    #[prost(string, tag = "1")]
    pub session_id: String,
    /// Rows.
    #[prost(message, optional, tag = "2")]
    pub arrow_batch: Option<ArrowBatch>,
    /// An encoded `DataType`.
    #[prost(bytes = "bytes", optional, tag = "7")]
    pub schema: Option<Bytes>,
    /// The execution.
    #[prost(string, tag = "12")]
    pub operation_id: String,
    /// This message's id.
    #[prost(string, tag = "13")]
    pub response_id: String,
    /// Present in the last message.
    #[prost(message, optional, tag = "14")]
    pub result_complete: Option<Empty>,
    /// The server's id of the session.
    #[prost(string, tag = "15")]
    pub server_side_session_id: String,
}

/// The version in the answer of `AnalyzePlan`.
#[derive(Clone, PartialEq, Message)]
pub struct SparkVersion {
    /// Like "4.3.0".
    #[prost(string, tag = "1")]
    pub version: String,
}

/// The answer of `AnalyzePlan`.
#[derive(Clone, PartialEq, Message)]
pub struct AnalyzeResponse {
    /// The client's session id.
    #[prost(string, tag = "1")]
    pub session_id: String,
    /// The version asked for.
    #[prost(message, optional, tag = "9")]
    pub spark_version: Option<SparkVersion>,
    /// The server's id of the session.
    #[prost(string, tag = "15")]
    pub server_side_session_id: String,
}

/// The answers of the calls that change nothing a client looks at.
#[derive(Clone, PartialEq, Message)]
pub struct PlainResponse {
    /// The client's session id.
    #[prost(string, tag = "1")]
    pub session_id: String,
    /// The server's id of the session, where `Interrupt` and `ReleaseExecute` have it.
    #[prost(string, tag = "3")]
    pub server_side_session_id: String,
}
