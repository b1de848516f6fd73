//! A client's place in a result whose rows are pulled as they are fetched.
//!
//! Nothing is pulled ahead of the client but the batch in which its page ends; behind it, a window of the latest rows
//! stays, so that it can step back. While the whole result fits in the window, it can go back to the start.

use std::collections::VecDeque;
use std::io::Cursor as Bytes;

use arrow_array::RecordBatch;
use arrow_ipc::reader::StreamReader;
use arrow_schema::{ArrowError, Schema, SchemaRef};

use super::failure::Failure;
use super::plan::{Part, Progress, part};
use crate::dialects::connect::inside::Results;

/// Where to go before rows are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Orientation {
    /// On.
    Next,
    /// Back by a page.
    Prior,
    /// Back to the start.
    First,
}

/// How much is taken at once and kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Room {
    /// Bytes of one page, at most by one row.
    pub(crate) page_bytes: usize,
    /// Bytes of rows that were fetched and are kept.
    pub(crate) window_bytes: usize,
}

/// Some rows.
#[derive(Debug, Clone)]
pub(crate) struct Page {
    /// Their columns.
    pub(crate) schema: SchemaRef,
    /// The number of the first of them in the result.
    pub(crate) start: u64,
    /// The rows.
    pub(crate) batches: Vec<RecordBatch>,
    /// True when a row follows.
    pub(crate) more: bool,
}

impl Page {
    /// How many rows it has.
    pub(crate) fn rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }
}

/// The place.
#[derive(Debug)]
pub(crate) struct Cursor {
    schema: SchemaRef,
    /// What is still to come; `None` at the end.
    results: Option<Results>,
    window: VecDeque<Batch>,
    window_bytes: usize,
    /// The row that is fetched next.
    at: u64,
    /// Where the latest page began.
    page_start: u64,
    /// Rows that came.
    received: u64,
}

#[derive(Debug)]
struct Batch {
    start: u64,
    rows: RecordBatch,
    bytes: usize,
}

impl Batch {
    fn end(&self) -> u64 {
        self.start + self.rows.num_rows() as u64
    }
}

/// What a pull brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pulled {
    /// Rows, maybe none of them.
    Rows,
    /// How far the query is.
    Progress(Progress),
    /// Something else.
    Nothing,
    /// The end of the result.
    End,
}

impl Default for Cursor {
    fn default() -> Self {
        Self {
            schema: Schema::empty().into(),
            results: None,
            window: VecDeque::new(),
            window_bytes: 0,
            at: 0,
            page_start: 0,
            received: 0,
        }
    }
}

impl Cursor {
    /// A result that is still to come.
    pub(crate) fn over(results: Results) -> Self {
        Self {
            results: Some(results),
            ..Self::default()
        }
    }

    /// A result that is whole already.
    pub(crate) fn of(schema: SchemaRef, rows: RecordBatch) -> Self {
        let mut cursor = Self {
            schema,
            ..Self::default()
        };
        let bytes = rows.get_array_memory_size();
        cursor.push(rows, bytes);
        cursor
    }

    /// The columns, as far as they are known.
    pub(crate) fn schema(&self) -> SchemaRef {
        SchemaRef::clone(&self.schema)
    }

    /// True when nothing is to come.
    pub(crate) const fn is_over(&self) -> bool {
        self.results.is_none()
    }

    /// Bytes of the rows that are kept.
    pub(crate) fn kept_bytes(&self) -> usize {
        self.window_bytes
    }

    /// The rows that are kept.
    pub(crate) fn into_rows(self) -> Vec<RecordBatch> {
        self.window.into_iter().map(|batch| batch.rows).collect()
    }

    /// Takes what comes next. Cancel-safe.
    ///
    /// # Errors
    /// The statement's own, or an answer that cannot be read.
    pub(crate) async fn pull(&mut self) -> Result<Pulled, Failure> {
        let Some(results) = &mut self.results else {
            return Ok(Pulled::End);
        };
        let message = match results.next().await {
            None => {
                self.results = None;
                return Ok(Pulled::End);
            }
            Some(Ok(message)) => message,
            Some(Err(status)) => {
                self.results = None;
                return Err(status.into());
            }
        };
        let unreadable = |error| Failure::invalid(format!("the driver's answer cannot be read: {error}"));
        match part(&message).map_err(unreadable)? {
            Part::Progress(progress) => Ok(Pulled::Progress(progress)),
            Part::Other => Ok(Pulled::Nothing),
            Part::Rows(stream) => {
                self.read(stream).map_err(|error| {
                    Failure::invalid(format!("the driver's rows cannot be read: {error}"))
                })?;
                Ok(Pulled::Rows)
            }
        }
    }

    fn read(&mut self, stream: &[u8]) -> Result<(), ArrowError> {
        let reader = StreamReader::try_new(Bytes::new(stream), None)?;
        self.schema = reader.schema();
        for rows in reader {
            self.push(rows?, stream.len());
        }
        Ok(())
    }

    // The columns of a batch share one buffer, which each of them would count.
    fn push(&mut self, rows: RecordBatch, bytes: usize) {
        if rows.num_rows() > 0 {
            let start = self.received;
            self.received += rows.num_rows() as u64;
            self.window_bytes += bytes;
            self.window.push_back(Batch { start, rows, bytes });
        }
    }

    /// Takes the next page of at most `rows` rows, pulling what it needs.
    ///
    /// # Errors
    /// The statement's own, or a place that is gone.
    pub(crate) async fn page(
        &mut self,
        orientation: Orientation,
        rows: usize,
        room: Room,
    ) -> Result<Page, Failure> {
        self.turn(orientation, rows)?;
        self.page_start = self.at;
        let mut batches = Vec::new();
        let (mut wanted, mut bytes) = (rows.max(1), room.page_bytes);
        while wanted > 0 && bytes > 0 {
            let at = self.at;
            let Some(batch) = self.here().await? else { break };
            let skipped = usize::try_from(at - batch.start).unwrap_or_default();
            let there = batch.rows.num_rows();
            let row_bytes = (batch.bytes / there).max(1);
            let taken = wanted.min(there - skipped).min((bytes / row_bytes).max(1));
            batches.push(batch.rows.slice(skipped, taken));
            self.at += taken as u64;
            wanted -= taken;
            bytes = bytes.saturating_sub(taken * row_bytes);
            self.forget(room.window_bytes);
        }
        let more = self.here().await?.is_some();
        Ok(Page {
            schema: self.schema(),
            start: self.page_start,
            batches,
            more,
        })
    }

    /// The batch with the next row; `None` at the end.
    async fn here(&mut self) -> Result<Option<&Batch>, Failure> {
        while self.at >= self.received {
            if self.pull().await? == Pulled::End {
                return Ok(None);
            }
        }
        Ok(self.window.iter().find(|batch| batch.end() > self.at))
    }

    fn turn(&mut self, orientation: Orientation, rows: usize) -> Result<(), Failure> {
        let to = match orientation {
            Orientation::Next => return Ok(()),
            Orientation::First => 0,
            Orientation::Prior => self.page_start.saturating_sub(rows as u64),
        };
        let first = self.window.front().map_or(self.received, |batch| batch.start);
        if to < first {
            return Err(Failure::new(
                "HY109",
                format!("row {to} of this result is not kept any more; run the statement again"),
            ));
        }
        self.at = to;
        Ok(())
    }

    /// Lets go of what lies behind, beyond what is kept.
    fn forget(&mut self, most: usize) {
        while self.window_bytes > most
            && self.results.is_some()
            && self.window.front().is_some_and(|batch| batch.end() <= self.at)
        {
            if let Some(batch) = self.window.pop_front() {
                self.window_bytes = self.window_bytes.saturating_sub(batch.bytes);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::Int64Array;
    use arrow_schema::{DataType, Field};

    use super::*;

    const ROOM: Room = Room {
        page_bytes: 1 << 20,
        window_bytes: 1 << 20,
    };

    fn cursor(rows: i64) -> Cursor {
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]));
        let column = Int64Array::from_iter_values(0..rows);
        let rows = RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(column)]).unwrap();
        Cursor::of(schema, rows)
    }

    async fn page(cursor: &mut Cursor, orientation: Orientation) -> (u64, usize, bool) {
        let page = cursor.page(orientation, 1000, ROOM).await.unwrap();
        (page.start, page.rows(), page.more)
    }

    #[tokio::test]
    async fn pages_follow_each_other_and_can_be_turned_back() {
        // hs2#26, hs2#27, hs2#28
        let mut cursor = cursor(2500);
        assert_eq!(page(&mut cursor, Orientation::Next).await, (0, 1000, true));
        assert_eq!(page(&mut cursor, Orientation::Next).await, (1000, 1000, true));
        assert_eq!(page(&mut cursor, Orientation::Prior).await, (0, 1000, true));
        assert_eq!(page(&mut cursor, Orientation::Next).await, (1000, 1000, true));
        assert_eq!(page(&mut cursor, Orientation::Next).await, (2000, 500, false));
        assert_eq!(page(&mut cursor, Orientation::Next).await, (2500, 0, false));
        assert_eq!(page(&mut cursor, Orientation::First).await, (0, 1000, true));
    }

    #[tokio::test]
    async fn i8_a_page_is_bounded_by_its_bytes_and_has_a_row_at_least() {
        let mut cursor = cursor(100);
        let narrow = |page_bytes| Room {
            page_bytes,
            window_bytes: 0,
        };
        let one = cursor.page(Orientation::Next, 50, narrow(1)).await.unwrap();
        assert_eq!((one.rows(), one.more), (1, true));
        let some = cursor.page(Orientation::Next, 50, narrow(300)).await.unwrap();
        assert!(some.rows() > 1 && some.rows() < 50);
    }
}
