//! A client's place in a result, and the pages that it takes from there.

use std::collections::VecDeque;
use std::io::Cursor as Bytes;

use arrow_array::RecordBatch;
use arrow_ipc::reader::StreamReader;
use arrow_schema::{ArrowError, SchemaRef};

use super::buffer::{Buffer, Data, Segment};
use super::failure::Failure;
use super::spool::Held;

/// Pages whose beginning is known, for who goes back.
const MAX_STARTS: usize = 100;

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
    /// True when a row follows, or may follow.
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
    /// Where the latest pages began, the last one last.
    starts: VecDeque<u64>,
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
    /// Takes a page of at most `rows` rows and about `bytes` bytes from `buffer`: of what is there, and at least a row,
    /// for which it waits. A page without a row is the end. Cancel-safe: a call that is given up leaves the place where
    /// it was.
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
        let (start, rows) = self.turned(buffer, orientation, rows.max(1))?;
        let (mut at, mut batches) = (start, Vec::new());
        let (mut wanted, mut room) = (rows, bytes.max(1));
        while wanted > 0 && room > 0 {
            let current = match self.here(buffer, at, batches.is_empty()).await {
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
        }
        // Not before: of a call that is given up, the rows have to stay.
        buffer.read_to(at);
        let more = !matches!(buffer.look(at), Some(Ok(None)));
        if at > start || self.starts.back() != Some(&start) {
            self.turn(orientation, start);
        }
        self.at = at;
        self.let_go();
        Ok(Page {
            schema: buffer.schema(),
            start,
            batches,
            more,
        })
    }

    /// The rows around row `at`; `None` at the end, or where they are not there yet and are not waited for.
    async fn here(&mut self, buffer: &Buffer, at: u64, waits: bool) -> Result<Option<&Current>, Failure> {
        let is_here = |current: &Current| current.start <= at && at < current.end();
        if !self.current.as_ref().is_some_and(is_here) {
            self.current = None;
            let found = if waits {
                buffer.find(at).await
            } else {
                buffer.look(at).unwrap_or(Ok(None))
            };
            let Some(segment) = found? else {
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

    /// The row at which a page begins, and how many it may have.
    fn turned(
        &self,
        buffer: &Buffer,
        orientation: Orientation,
        rows: usize,
    ) -> Result<(u64, usize), Failure> {
        let (to, rows) = match orientation {
            Orientation::Next => (self.at, rows),
            Orientation::First => (0, rows),
            Orientation::Prior => self.before(rows),
        };
        if !buffer.turn_to(to) {
            return Err(Failure::gone(to));
        }
        Ok((to, rows))
    }

    /// The page before the latest one: where that began, or as many rows back as are asked for where it is not known.
    fn before(&self, rows: usize) -> (u64, usize) {
        let mut starts = self.starts.iter().rev();
        let latest = starts.next().copied().unwrap_or_default();
        let back = latest.saturating_sub(rows as u64);
        let start = starts.next().map_or(back, |start| back.max(*start));
        let between = usize::try_from(latest - start).unwrap_or(rows);
        // Before the first page is the first page.
        (start, if between == 0 { rows } else { between })
    }

    /// Notes where a page began.
    fn turn(&mut self, orientation: Orientation, start: u64) {
        match orientation {
            Orientation::Next => {}
            Orientation::First => self.starts.clear(),
            Orientation::Prior => self.starts.truncate(self.starts.len().saturating_sub(2)),
        }
        self.starts.push_back(start);
        if self.starts.len() > MAX_STARTS {
            self.starts.pop_front();
        }
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
