//! What the stub says to each call.

use bytes::Bytes;
use futures_util::stream;
use http::HeaderMap;
use prost::Message;
use tonic::Code;
use uuid::Uuid;

use super::StubDriver;
use super::frame::{Body, failure, first_message, message, messages};
use crate::messages::{
    AnalyzeResponse, AnyRequest, ArrowBatch, ConfigRequest, ConfigResponse, Empty, ExecuteRequest,
    ExecuteResponse, KeyValue, PlainResponse, ReattachRequest, ReleaseRequest, SparkVersion,
};

/// The version that the stub claims to be.
const SPARK_VERSION: &str = "4.3.0";
/// `DataType { struct { fields { name: "id", data_type { long {} } } } }`.
const SCHEMA: &[u8] = &[
    0xaa, 0x01, 0x0a, 0x0a, 0x08, 0x0a, 0x02, b'i', b'd', 0x12, 0x02, 0x3a, 0x00,
];

/// The stub's canned answers.
#[derive(Debug)]
pub(super) struct Stub {
    config: StubDriver,
    /// One run of the stub: another run gives sessions other ids, as a restarted driver does.
    run: Uuid,
    data: Bytes,
}

/// Where in which result a stream is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Position {
    session: String,
    server_session: String,
    operation: String,
    /// 0 is the schema, then the batches, then the end.
    next: u64,
}

impl Stub {
    pub(super) fn new(config: StubDriver) -> Self {
        Self {
            data: vec![0; config.batch_bytes].into(),
            run: Uuid::new_v4(),
            config,
        }
    }

    /// True if the request carries the wanted token.
    pub(super) fn accepts(&self, headers: &HeaderMap) -> bool {
        let Some(token) = &self.config.token else {
            return true;
        };
        let given = headers
            .get(http::header::AUTHORIZATION)
            .map(http::HeaderValue::as_bytes);
        given == Some(format!("Bearer {token}").as_bytes())
    }

    /// Answers one call.
    pub(super) fn answer(&self, path: &str, body: Bytes) -> http::Response<Body> {
        let Some(request) = first_message(body) else {
            return failure(Code::Internal, "the request is no gRPC message");
        };
        let answered = match path.rsplit('/').next().unwrap_or_default() {
            "Config" => self.config(request),
            "AnalyzePlan" => self.analyze(request),
            "ExecutePlan" => self.execute(request),
            "ReattachExecute" => self.reattach(request),
            "ReleaseExecute" => self.release(request),
            "ReleaseSession" | "Interrupt" => self.plain(request),
            other => Ok(failure(
                Code::Unimplemented,
                &format!("the stub driver has no {other}"),
            )),
        };
        answered.unwrap_or_else(|error| failure(Code::Internal, &error.to_string()))
    }

    fn server_session(&self, session: &str) -> String {
        Uuid::new_v5(&self.run, session.as_bytes()).to_string()
    }

    fn config(&self, request: Bytes) -> Result<http::Response<Body>, prost::DecodeError> {
        let request = ConfigRequest::decode(request)?;
        let operation = request.operation.unwrap_or_default();
        let keys = operation.get.unwrap_or_default().keys.into_iter();
        let value = |key| KeyValue {
            key,
            value: Some("200".to_owned()),
        };
        Ok(message(ConfigResponse {
            server_side_session_id: self.server_session(&request.session_id),
            session_id: request.session_id,
            pairs: keys.map(value).collect(),
        }))
    }

    fn analyze(&self, request: Bytes) -> Result<http::Response<Body>, prost::DecodeError> {
        let request = AnyRequest::decode(request)?;
        Ok(message(AnalyzeResponse {
            server_side_session_id: self.server_session(&request.session_id),
            session_id: request.session_id,
            spark_version: Some(SparkVersion {
                version: SPARK_VERSION.to_owned(),
            }),
        }))
    }

    fn execute(&self, request: Bytes) -> Result<http::Response<Body>, prost::DecodeError> {
        let request = ExecuteRequest::decode(request)?;
        Ok(self.result(Position {
            server_session: self.server_session(&request.session_id),
            session: request.session_id,
            operation: request.operation_id.unwrap_or_else(|| Uuid::new_v4().to_string()),
            next: 0,
        }))
    }

    fn reattach(&self, request: Bytes) -> Result<http::Response<Body>, prost::DecodeError> {
        let request = ReattachRequest::decode(request)?;
        let next = match request.last_response_id.as_deref().map(position_after) {
            None => 0,
            Some(Some(next)) => next,
            Some(None) => return Ok(failure(Code::NotFound, "the position is not of this stub")),
        };
        Ok(self.result(Position {
            server_session: self.server_session(&request.session_id),
            session: request.session_id,
            operation: request.operation_id,
            next,
        }))
    }

    fn release(&self, request: Bytes) -> Result<http::Response<Body>, prost::DecodeError> {
        let request = ReleaseRequest::decode(request)?;
        Ok(self.acknowledge(request.session_id))
    }

    fn plain(&self, request: Bytes) -> Result<http::Response<Body>, prost::DecodeError> {
        let request = AnyRequest::decode(request)?;
        Ok(self.acknowledge(request.session_id))
    }

    fn acknowledge(&self, session_id: String) -> http::Response<Body> {
        message(PlainResponse {
            server_side_session_id: self.server_session(&session_id),
            session_id,
        })
    }

    fn result(&self, from: Position) -> http::Response<Body> {
        let (data, config) = (self.data.clone(), self.config.clone());
        let last = config.batches.saturating_add(1);
        let answers = (from.next..=last).map(move |n| response(&config, &data, &from, n));
        messages(stream::iter(answers))
    }
}

fn response(config: &StubDriver, data: &Bytes, of: &Position, n: u64) -> ExecuteResponse {
    let last = config.batches.saturating_add(1);
    let start = i64::try_from(n.saturating_sub(1))
        .unwrap_or(i64::MAX)
        .saturating_mul(config.batch_rows);
    let batch = ArrowBatch {
        row_count: config.batch_rows,
        data: data.clone(),
        start_offset: Some(start),
    };
    ExecuteResponse {
        session_id: of.session.clone(),
        arrow_batch: (n > 0 && n < last).then_some(batch),
        schema: (n == 0).then(|| Bytes::from_static(SCHEMA)),
        operation_id: of.operation.clone(),
        response_id: format!("{}/{n}", of.operation),
        result_complete: (n == last).then_some(Empty {}),
        server_side_session_id: of.server_session.clone(),
    }
}

/// The number of the response after the one with this id.
fn position_after(response_id: &str) -> Option<u64> {
    let (_, number) = response_id.rsplit_once('/')?;
    number.parse::<u64>().ok()?.checked_add(1)
}
