//! Calls about one operation: its state, its columns, its rows and its log.

use std::sync::Arc;

use arrow_array::{RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};

use super::{Answer, answer};
use crate::dialects::hs2::protocol::{self, Version};
use crate::dialects::hs2::wire::Fields;
use crate::dialects::hs2::{Hs2, handle, progress, rowset, schema};
use crate::dialects::sql::Caller;
use crate::dialects::sql::cursor::{Orientation, Page};
use crate::dialects::sql::failure::Failure;
use crate::dialects::sql::operation::{Operation, State};
use crate::dialects::sql::session::Session;

/// Rows of one fetch, whatever the client says: pages are bounded by their bytes before that.
const MAX_FETCH_ROWS: i64 = 1_000_000;
/// Lines of a log in one fetch.
const MAX_LOG_LINES: usize = 1000;

impl Hs2 {
    /// The operation that a request is about, with its session.
    pub(super) async fn asked_about(
        &self,
        caller: &Caller,
        request: &Fields<'_>,
    ) -> Result<(Arc<Session>, Arc<Operation>), Failure> {
        self.operation(handle::operation(request)?, caller).await
    }

    pub(super) async fn operation_status(&self, caller: &Caller, request: &Fields<'_>) -> Answer {
        let (session, operation) = self.asked_about(caller, request).await?;
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
                out.fields(10, |out| {
                    progress::write(out, &operation.progress(), millis(operation.started_at));
                });
            }
            // Spark does not say how many rows a statement changed. Hive's driver 4 takes a missing number for 0.
            out.long(11, -1);
        })
    }

    pub(super) async fn result_schema(&self, caller: &Caller, request: &Fields<'_>) -> Answer {
        let (_, operation) = self.asked_about(caller, request).await?;
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

    pub(super) async fn fetch(&self, caller: &Caller, request: &Fields<'_>) -> Answer {
        let (session, operation) = self.asked_about(caller, request).await?;
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

fn millis(at: u64) -> i64 {
    i64::try_from(at).unwrap_or(i64::MAX)
}
