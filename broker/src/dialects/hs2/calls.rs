//! Which call does what.

use std::sync::Arc;
use std::time::Duration;

use arrow_array::{RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use berth_core::record::Dialect;
use uuid::Uuid;

use super::handle;
use super::info::{self, Info};
use super::protocol::{self, Version};
use super::wire::{Exception, Fields, Message, Out, exception, kind, reply};
use super::{Hs2, rowset, schema};
use crate::dialects::sql::cursor::{Orientation, Page};
use crate::dialects::sql::failure::Failure;
use crate::dialects::sql::metadata::Question;
use crate::dialects::sql::opening::Opening;
use crate::dialects::sql::operation::{Operation, State};
use crate::dialects::sql::session::Session;
use crate::dialects::sql::{Caller, Statement};

/// The key under which servers and clients tell how many rows are fetched at once.
const FETCH_SIZE: &str = "hive.server2.thrift.resultset.default.fetch.size";
/// Rows of one fetch, whatever the client says: pages are bounded by their bytes before that.
const MAX_FETCH_ROWS: i64 = 1_000_000;
/// Lines of a log in one fetch.
const MAX_LOG_LINES: usize = 1000;
/// What a failed call says with the code for it.
const ERROR_STATUS: i32 = 3;

/// Who calls, and over what.
#[derive(Debug)]
pub(super) struct Client {
    /// The user, once they are known.
    pub(super) caller: Option<Caller>,
    /// A user to act for that came beside the call.
    pub(super) proxy_user: Option<String>,
    /// The sessions that were opened here.
    pub(super) opened: Vec<Uuid>,
    /// True where sessions do not end with a connection, and any broker serves them.
    pub(super) shares: bool,
}

/// How a user without a login is found: by the name and password of the call that opens a session.
pub(super) type Login<'a> = &'a (dyn Fn(&str, &str) -> Option<Caller> + Send + Sync);

type Answer = Result<Box<dyn FnOnce(&mut Out) + Send>, Failure>;

fn answer(write: impl FnOnce(&mut Out) + Send + 'static) -> Answer {
    Ok(Box::new(write))
}

impl Hs2 {
    /// Answers a call.
    pub(super) async fn answer(&self, client: &mut Client, login: Login<'_>, call: &Message<'_>) -> Vec<u8> {
        let Some(request) = call.arguments.fields(1) else {
            return exception(call, Exception::ProtocolError, "the call has no request");
        };
        let started = std::time::Instant::now();
        let Some(rpc) = KNOWN.iter().find(|known| **known == call.name).copied() else {
            count("unknown", "error", started);
            let text = format!("Invalid method name: '{}'", call.name);
            return exception(call, Exception::UnknownMethod, &text);
        };
        let answered = self.dispatch(client, login, rpc, request).await;
        count(rpc, if answered.is_ok() { "ok" } else { "error" }, started);
        reply(call, |out| match answered {
            // The only answer without a status.
            Ok(write) if rpc == "GetQueryId" => write(out),
            Ok(write) => {
                out.fields(1, |out| out.int(1, 0));
                write(out);
            }
            Err(failure) => {
                tracing::debug!(rpc, error = %failure, "a call failed");
                failed(out, rpc, &failure);
            }
        })
    }

    /// The answer to a call that failed before it was made.
    pub(super) fn refuse(&self, call: &Message<'_>, failure: &Failure) -> Vec<u8> {
        reply(call, |out| failed(out, call.name, failure))
    }

    async fn dispatch(
        &self,
        client: &mut Client,
        login: Login<'_>,
        rpc: &str,
        request: &Fields<'_>,
    ) -> Answer {
        if rpc == "OpenSession" {
            return self.open_session(client, login, request).await;
        }
        let caller = client.caller.clone().ok_or_else(|| {
            Failure::new(
                "28000",
                "nobody has logged in on this connection; open a session first",
            )
        })?;
        match rpc {
            "GetOperationStatus" => self.operation_status(&caller, request).await,
            "GetResultSetMetadata" => self.result_schema(&caller, request).await,
            "FetchResults" => self.fetch(&caller, request).await,
            "CancelOperation" => {
                self.operation(&caller, request)?.1.cancel();
                answer(|_| {})
            }
            "CloseOperation" => {
                let (session, operation) = self.operation(&caller, request)?;
                self.engine.close_operation(&session, &operation);
                answer(|_| {})
            }
            "GetQueryId" => {
                let id = self.operation(&caller, request)?.1.id;
                answer(move |out| out.text(1, &id.to_string()))
            }
            _ => self.about_session(client, &caller, rpc, request).await,
        }
    }

    async fn about_session(
        &self,
        client: &mut Client,
        caller: &Caller,
        rpc: &str,
        request: &Fields<'_>,
    ) -> Answer {
        let session = self.session(handle::session(request)?, caller).await?;
        match rpc {
            "CloseSession" => {
                client.opened.retain(|opened| *opened != session.id);
                self.close(&session).await?;
                answer(|_| {})
            }
            "ExecuteStatement" => self.execute(&session, request).await,
            "SetClientInfo" => answer(|_| {}),
            "GetInfo" => self.info(request),
            "GetDelegationToken" | "CancelDelegationToken" | "RenewDelegationToken" => {
                Err(Failure::unsupported(
                    "Delegation token is not supported; log in with a token of the token file",
                ))
            }
            _ => {
                let question = question(rpc, request)
                    .ok_or_else(|| Failure::unsupported(format!("{rpc} is not supported")))?;
                let operation = self.engine.ask(&session, question).await?;
                answer(move |out| handle::write_operation(out, 2, &operation))
            }
        }
    }

    async fn open_session(&self, client: &mut Client, login: Login<'_>, request: &Fields<'_>) -> Answer {
        let named = request.text(2).unwrap_or_default();
        let caller = match &client.caller {
            Some(Caller { user: None, .. }) | None => {
                let password = request.text(3).unwrap_or_default();
                login(&named, &password).ok_or_else(|| {
                    Failure::new(
                        "28000",
                        "no valid login; send the user and its token as the password",
                    )
                })?
            }
            Some(known) => known.clone(),
        };
        let pairs = request.pairs(4);
        let mut opening = Opening::read(&pairs)?;
        if client.proxy_user.is_some() {
            opening.proxy_user.clone_from(&client.proxy_user);
        }
        let rows = opening.fetch_size.unwrap_or(self.engine.config.fetch_rows).max(1);
        let version = Version::agreed(request.number(1));
        let session = self
            .engine
            .open(&caller, Dialect::Hs2, version.number(), opening)
            .await?;
        if client.shares
            && let Err(failure) = self.share(&caller, &session, pairs).await
        {
            self.engine.close(&session).await;
            return Err(failure);
        }
        client.caller = Some(caller);
        client.opened.push(session.id);
        answer(move |out| {
            out.int(2, version.number());
            handle::write_session(out, 3, &session);
            out.pairs(4, &[(FETCH_SIZE, rows.to_string())]);
        })
    }

    fn info(&self, request: &Fields<'_>) -> Answer {
        let number = request.number(2).unwrap_or(-1);
        let info = info::answer(number, &self.config.spark_version);
        let info =
            info.ok_or_else(|| Failure::unsupported(format!("the server has no information {number}")))?;
        answer(move |out| {
            out.fields(2, |out| match info {
                Info::Text(text) => out.text(1, &text),
                Info::Length(length) => out.long(6, length),
            });
        })
    }

    async fn execute(&self, session: &Arc<Session>, request: &Fields<'_>) -> Answer {
        let text = request
            .text(2)
            .ok_or_else(|| Failure::invalid("the call has no statement"))?;
        let seconds = request.number(5).and_then(|seconds| u64::try_from(seconds).ok());
        let statement = Statement {
            text,
            overlay: request.pairs(3),
            limit: seconds.filter(|seconds| *seconds > 0).map(Duration::from_secs),
        };
        let operation = self.engine.execute(session, statement)?;
        if !request.flag(4) {
            let failure = match operation.ended().await {
                State::Failed(failure) => Some(failure),
                State::Canceled => Some(Failure::new("57014", "the statement was canceled")),
                State::TimedOut => Some(Failure::new("HYT00", "the statement ran longer than its limit")),
                State::Pending | State::Running | State::Finished(_) => None,
            };
            if let Some(failure) = failure {
                self.engine.close_operation(session, &operation);
                return Err(failure);
            }
        }
        answer(move |out| handle::write_operation(out, 2, &operation))
    }

    fn operation(
        &self,
        caller: &Caller,
        request: &Fields<'_>,
    ) -> Result<(Arc<Session>, Arc<Operation>), Failure> {
        let handle = handle::operation(request)?;
        let operation = self.engine.operation(handle.session, handle.id, caller)?;
        let session = self.engine.session(handle.session, caller)?;
        Ok((session, operation))
    }

    async fn operation_status(&self, caller: &Caller, request: &Fields<'_>) -> Answer {
        let (session, operation) = self.operation(caller, request)?;
        let state = operation.settled(self.engine.config.poll()).await;
        let version = Version::of(session.protocol);
        let wants_progress = request.flag(2);
        answer(move |out| {
            out.int(2, protocol::state(&state, version));
            if let State::Failed(failure) = &state {
                out.text(3, &failure.sql_state);
                out.int(4, 0);
                out.text(5, &failure.text);
            }
            out.long(7, millis(operation.started_at));
            if let Some(at) = operation.completed_at() {
                out.long(8, millis(at));
            }
            out.flag(9, true);
            if wants_progress && !state.is_settled() {
                out.fields(10, |out| progress(out, &operation));
            }
            // Spark does not say how many rows a statement changed. Hive's driver 4 takes a missing number for 0.
            out.long(11, -1);
        })
    }

    async fn result_schema(&self, caller: &Caller, request: &Fields<'_>) -> Answer {
        let (_, operation) = self.operation(caller, request)?;
        let columns = match operation.settled(self.engine.config.poll()).await {
            State::Finished(columns) => columns,
            State::Failed(failure) => return Err(failure),
            other => {
                return Err(Failure::invalid(format!(
                    "the operation has no columns: it is {}",
                    other.name()
                )));
            }
        };
        answer(move |out| schema::write(out, 2, &columns))
    }

    async fn fetch(&self, caller: &Caller, request: &Fields<'_>) -> Answer {
        let (session, operation) = self.operation(caller, request)?;
        let orientation = orientation(request.number(2).unwrap_or_default())?;
        let wanted = request.number(3).unwrap_or_default();
        let usual = i64::from(self.engine.config.fetch_rows);
        let wanted = if wanted <= 0 {
            usual
        } else {
            wanted.min(MAX_FETCH_ROWS)
        };
        let rows = usize::try_from(wanted).unwrap_or(1);
        let page = if request.number(4) == Some(1) {
            log_page(&operation, orientation, rows)?
        } else {
            operation
                .fetch(orientation, rows, self.engine.config.page_bytes)
                .await?
        };
        let version = Version::of(session.protocol);
        answer(move |out| {
            out.flag(2, page.more);
            rowset::write(out, 3, &page, version);
        })
    }
}

/// The calls of the service.
const KNOWN: [&str; 23] = [
    "OpenSession",
    "CloseSession",
    "SetClientInfo",
    "GetInfo",
    "ExecuteStatement",
    "GetTypeInfo",
    "GetCatalogs",
    "GetSchemas",
    "GetTables",
    "GetTableTypes",
    "GetColumns",
    "GetFunctions",
    "GetPrimaryKeys",
    "GetCrossReference",
    "GetOperationStatus",
    "CancelOperation",
    "CloseOperation",
    "GetResultSetMetadata",
    "FetchResults",
    "GetQueryId",
    "GetDelegationToken",
    "CancelDelegationToken",
    "RenewDelegationToken",
];

fn count(rpc: &'static str, outcome: &'static str, started: std::time::Instant) {
    metrics::counter!("berth_requests_total", "dialect" => "hs2", "rpc" => rpc, "outcome" => outcome)
        .increment(1);
    metrics::histogram!("berth_request_seconds", "dialect" => "hs2", "rpc" => rpc).record(started.elapsed());
}

/// The answer to a call that failed. It has no `infoMessages`: Java's clients take them for an encoded stack.
fn failed(out: &mut Out, rpc: &str, failure: &Failure) {
    if rpc == "GetQueryId" {
        return out.text(1, "");
    }
    out.fields(1, |out| {
        out.int(1, ERROR_STATUS);
        out.text(3, &failure.sql_state);
        out.int(4, 0);
        out.text(5, &failure.text);
    });
    match rpc {
        // Clients read these whatever the status says.
        "OpenSession" => out.int(2, Version::agreed(None).number()),
        "GetInfo" => out.fields(2, |out| out.long(6, 0)),
        _ => {}
    }
}

fn question(rpc: &str, request: &Fields<'_>) -> Option<Question> {
    let (catalog, schema) = (request.text(2), request.text(3));
    Some(match rpc {
        "GetTypeInfo" => Question::TypeInfo,
        "GetCatalogs" => Question::Catalogs,
        "GetTableTypes" => Question::TableTypes,
        "GetSchemas" => Question::Schemas { catalog, schema },
        "GetTables" => Question::Tables {
            catalog,
            schema,
            table: request.text(4),
            types: request.texts(5),
        },
        "GetColumns" => Question::Columns {
            catalog,
            schema,
            table: request.text(4),
            column: request.text(5),
        },
        "GetFunctions" => Question::Functions {
            catalog,
            schema,
            function: request.text(4),
        },
        "GetPrimaryKeys" => Question::PrimaryKeys,
        "GetCrossReference" => Question::CrossReference,
        _ => return None,
    })
}

fn orientation(number: i64) -> Result<Orientation, Failure> {
    match number {
        0 => Ok(Orientation::Next),
        1 => Ok(Orientation::Prior),
        4 => Ok(Orientation::First),
        _ => Err(Failure::unsupported(
            "results are fetched forwards, back by a page, or from the start; this orientation is not supported",
        )),
    }
}

fn log_page(operation: &Operation, orientation: Orientation, rows: usize) -> Result<Page, Failure> {
    let rewind = match orientation {
        Orientation::Next => false,
        Orientation::First => true,
        Orientation::Prior => return Err(Failure::unsupported("logs are read forwards, or from the start")),
    };
    let lines = operation.log(rewind, rows.min(MAX_LOG_LINES));
    let schema = Arc::new(Schema::new(vec![Field::new(
        "operation_log",
        DataType::Utf8,
        true,
    )]));
    let column = Arc::new(StringArray::from_iter_values(lines));
    let rows = RecordBatch::try_new(Arc::clone(&schema), vec![column]);
    let rows = rows.map_err(|error| Failure::invalid(format!("the log cannot be put together: {error}")))?;
    Ok(Page {
        schema,
        start: 0,
        batches: vec![rows],
        more: false,
    })
}

fn progress(out: &mut Out, operation: &Operation) {
    let progress = operation.progress();
    let texts = |out: &mut Out, texts: &[String]| {
        for text in texts {
            out.raw_bytes(text.as_bytes());
        }
    };
    let headers = ["STAGES", "COMPLETE", "TASKS", "DONE"].map(str::to_owned);
    let row = [
        progress.stages,
        progress.done_stages,
        progress.tasks,
        progress.done_tasks,
    ]
    .map(|n| n.to_string());
    out.list(1, kind::TEXT, headers.len());
    texts(out, &headers);
    out.list(2, kind::LIST, 1);
    out.raw_list(kind::TEXT, row.len());
    texts(out, &row);
    let done = if progress.tasks == 0 {
        0.0
    } else {
        progress.done_tasks as f64 / progress.tasks as f64
    };
    out.double(3, done);
    out.int(4, 0);
    out.text(5, "");
    out.long(6, millis(operation.started_at));
}

fn millis(at: u64) -> i64 {
    i64::try_from(at).unwrap_or(i64::MAX)
}
