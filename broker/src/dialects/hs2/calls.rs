//! Which call does what.

mod operations;

use std::sync::Arc;
use std::time::Duration;

use berth_core::record::Dialect;
use uuid::Uuid;

use super::Hs2;
use super::handle;
use super::info::{self, Info};
use super::protocol::Version;
use super::wire::{Exception, Fields, Message, Out, exception, reply};
use crate::dialects::sql::failure::Failure;
use crate::dialects::sql::metadata::Question;
use crate::dialects::sql::opening::Opening;
use crate::dialects::sql::operation::State;
use crate::dialects::sql::session::Session;
use crate::dialects::sql::{Caller, Reach, Statement};

/// The key under which servers and clients tell how many rows are fetched at once.
const FETCH_SIZE: &str = "hive.server2.thrift.resultset.default.fetch.size";
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
    /// Where the calls about its sessions come to.
    pub(super) reach: Reach,
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
        let started = std::time::Instant::now();
        let Some(rpc) = KNOWN.iter().find(|known| **known == call.name).copied() else {
            count("unknown", "error", started);
            let text = format!("Invalid method name: '{}'", call.name);
            return exception(call, Exception::UnknownMethod, &text);
        };
        let Some(request) = call.arguments.fields(1) else {
            count(rpc, "error", started);
            return exception(call, Exception::ProtocolError, "the call has no request");
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
                self.asked_about(&caller, request).await?.1.cancel();
                answer(|_| {})
            }
            "CloseOperation" => {
                let (session, operation) = self.asked_about(&caller, request).await?;
                self.engine.close_operation(&session, &operation);
                answer(|_| {})
            }
            "GetQueryId" => {
                let id = self.asked_about(&caller, request).await?.1.id;
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
        let (spoken, reach) = ((Dialect::Hs2, version.number()), client.reach);
        let session = self.engine.open(&caller, spoken, reach, opening).await?;
        if reach == Reach::Any {
            let opened = self.engine.opened(&session);
            self.share(&caller, &session, pairs).await?;
            opened.keep();
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
