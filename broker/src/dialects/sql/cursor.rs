//! A client's place in a result, and the pages that it takes from there.

use std::io::Cursor as Bytes;

use arrow_array::RecordBatch;
use arrow_ipc::reader::StreamReader;
use arrow_schema::{ArrowError, SchemaRef};

use super::buffer::{Buffer, Data, Segment};
use super::failure::Failure;
use super::spool::Held;

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
#[derive(Debug, Default)]
pub(super) struct Cursor {
    /// The row that is fetched next.
    at: u64,
    /// Where the latest page began.
    page_start: u64,
    /// The rows around `at`, when they took work to get.
    current: Option<Current>,
}

/// Rows that can be taken.
#[derive(Debug)]
struct Current {
    start: u64,
    bytes: usize,
    rows: Vec<RecordBatch>,
    held: Option<Held>,
}

impl Current {
    fn count(&self) -> usize {
        self.rows.iter().map(RecordBatch::num_rows).sum()
    }

    fn end(&self) -> u64 {
        self.start + self.count() as u64
    }
}

impl Cursor {
    /// Takes a page of at most `rows` rows and about `bytes` bytes from `buffer`, and waits for what it needs. A page
    /// has a row at least where there is one. Cancel-safe: a call that is given up leaves the place where it was.
    ///
    /// # Errors
    /// The statement's own, or a place that is gone.
    pub(super) async fn page(
        &mut self,
        buffer: &Buffer,
        orientation: Orientation,
        rows: usize,
        bytes: usize,
    ) -> Result<Page, Failure> {
        let start = self.turned(buffer, orientation, rows)?;
        let (mut at, mut batches) = (start, Vec::new());
        let (mut wanted, mut room) = (rows.max(1), bytes);
        while wanted > 0 && room > 0 {
            let current = match self.here(buffer, at).await {
                Ok(Some(current)) => current,
                Ok(None) => break,
                // It is told to the fetch that has no rows before it.
                Err(_) if !batches.is_empty() => break,
                Err(failure) => return Err(failure),
            };
            let skipped = usize::try_from(at - current.start).unwrap_or_default();
            let there = current.count();
            let row_bytes = (current.bytes / there).max(1);
            let taken = wanted.min(there - skipped).min((room / row_bytes).max(1));
            slice(&current.rows, skipped, taken, &mut batches);
            at += taken as u64;
            wanted -= taken;
            room = room.saturating_sub(taken * row_bytes);
            buffer.read_to(at);
        }
        let more = !matches!(buffer.find(at).await, Ok(None));
        (self.page_start, self.at) = (start, at);
        self.let_go();
        Ok(Page {
            schema: buffer.schema(),
            start,
            batches,
            more,
        })
    }

    /// The rows around row `at`; `None` at the end.
    async fn here(&mut self, buffer: &Buffer, at: u64) -> Result<Option<&Current>, Failure> {
        let is_here = |current: &Current| current.start <= at && at < current.end();
        if !self.current.as_ref().is_some_and(is_here) {
            self.current = None;
            let Some(segment) = buffer.find(at).await? else {
                return Ok(None);
            };
            self.current = Some(load(segment, buffer).await?);
        }
        Ok(self.current.as_ref())
    }

    /// Rows that lie behind are not needed any more, and the others only stay while memory is to be had.
    fn let_go(&mut self) {
        let stays = |current: &Current| current.held.is_some() && self.at < current.end();
        if !self.current.as_ref().is_some_and(stays) {
            self.current = None;
        }
    }

    /// The row at which a page begins.
    fn turned(&self, buffer: &Buffer, orientation: Orientation, rows: usize) -> Result<u64, Failure> {
        let to = match orientation {
            Orientation::Next => self.at,
            Orientation::First => 0,
            Orientation::Prior => self.page_start.saturating_sub(rows as u64),
        };
        if !buffer.turn_to(to) {
            return Err(Failure::gone(to));
        }
        Ok(to)
    }
}

/// Makes the rows of a segment ready.
async fn load(segment: Segment, buffer: &Buffer) -> Result<Current, Failure> {
    let unreadable = |why: &dyn std::fmt::Display| {
        Failure::invalid(format!(
            "rows that were kept cannot be read: {why}; run the statement again"
        ))
    };
    let stream = match segment.data {
        Data::Table(rows) => {
            let bytes = rows.get_array_memory_size();
            return Ok(Current {
                start: segment.start,
                bytes,
                rows: vec![rows],
                held: None,
            });
        }
        Data::Memory(stream, _) => stream,
        Data::Disk(stored) => stored.read().await.map_err(|error| unreadable(&error))?,
    };
    let rows = decode(&stream).map_err(|error| unreadable(&error))?;
    let current = Current {
        start: segment.start,
        bytes: stream.len(),
        rows,
        held: buffer.spool().memory.try_hold(stream.len() as u64),
    };
    if current.count() as u64 == segment.rows {
        Ok(current)
    } else {
        Err(unreadable(&"their number is another one than the driver said"))
    }
}

/// The rows of an Arrow stream.
///
/// # Errors
/// It is none.
pub(super) fn decode(stream: &[u8]) -> Result<Vec<RecordBatch>, ArrowError> {
    StreamReader::try_new(Bytes::new(stream), None)?
        .filter(|batch| batch.as_ref().map_or(true, |batch| batch.num_rows() > 0))
        .collect()
}

/// The columns of an Arrow stream.
///
/// # Errors
/// It is none.
pub(super) fn schema(stream: &[u8]) -> Result<SchemaRef, ArrowError> {
    Ok(StreamReader::try_new(Bytes::new(stream), None)?.schema())
}

/// Adds `taken` rows behind `skipped` ones.
fn slice(rows: &[RecordBatch], mut skipped: usize, mut taken: usize, into: &mut Vec<RecordBatch>) {
    for batch in rows {
        let there = batch.num_rows();
        let from = skipped.min(there);
        let count = taken.min(there - from);
        if count > 0 {
            into.push(batch.slice(from, count));
        }
        skipped -= from;
        taken -= count;
    }
}

#[cfg(test)]
mod tests;
