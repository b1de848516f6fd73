//! The rows of one result on their way from its driver to its client.
//!
//! One task writes: it takes rows from the driver as fast as they come, so that they do not pile up there, and puts
//! them into memory or files as there is room. One call at a time reads, from any row that is still there. What the
//! client has read stays, too, until its room is needed for what it has not.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow_array::RecordBatch;
use arrow_schema::{Schema, SchemaRef};
use bytes::Bytes;
use tokio::sync::Notify;

use super::failure::Failure;
use super::spool::{Held, Spool, Stored, Writer};

/// Some rows.
#[derive(Debug, Clone)]
pub(super) enum Data {
    /// Ready to be read.
    Table(RecordBatch),
    /// An Arrow stream, in memory, and what it takes of the budget.
    Memory(
        Bytes,
        #[expect(dead_code, reason = "it is held until it is dropped")] Arc<Held>,
    ),
    /// An Arrow stream, in a file.
    Disk(Stored),
}

/// Rows that came together.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    /// Number of the first of them in the result.
    pub(super) start: u64,
    /// How many they are.
    pub(super) rows: u64,
    /// The rows.
    pub(super) data: Data,
}

impl Segment {
    /// The number of the row after them.
    pub(super) fn end(&self) -> u64 {
        self.start + self.rows
    }

    fn memory(&self) -> usize {
        match &self.data {
            Data::Memory(bytes, _) => bytes.len(),
            Data::Table(_) | Data::Disk(_) => 0,
        }
    }
}

/// The rows.
#[derive(Debug)]
pub(super) struct Buffer {
    spool: Arc<Spool>,
    /// Bytes that it may have in memory.
    window: usize,
    /// Bytes with which its client may begin to read, though more may follow.
    enough: usize,
    state: Mutex<State>,
    news: Notify,
    room: Notify,
}

#[derive(Debug)]
struct State {
    schema: SchemaRef,
    segments: VecDeque<Segment>,
    /// Rows that came.
    received: u64,
    /// Their bytes.
    bytes: usize,
    /// True while rows that came wait for room.
    waits: bool,
    /// The row that its client reads next.
    read_to: u64,
    /// Bytes in memory.
    memory: usize,
    end: Option<Result<(), Failure>>,
}

/// What to do with rows that came.
#[derive(Debug)]
enum Step {
    /// They are in memory.
    Kept,
    /// Rows that were read have to make room first: those that begin here.
    Spill(u64, Bytes),
    /// They have to be written down.
    Write,
}

/// What became of rows that there was no room for.
enum Squeezed {
    /// They are in memory all the same.
    Kept,
    /// Other rows are gone for them.
    MadeRoom,
    /// They have to wait.
    Full,
}

impl Buffer {
    /// An empty result, of which `enough` bytes are worth reading before the last have come.
    pub(super) fn new(spool: Arc<Spool>, window: usize, enough: usize) -> Self {
        let state = State {
            schema: Schema::empty().into(),
            segments: VecDeque::new(),
            received: 0,
            bytes: 0,
            waits: false,
            read_to: 0,
            memory: 0,
            end: None,
        };
        Self {
            spool,
            window,
            enough,
            state: Mutex::new(state),
            news: Notify::new(),
            room: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The spool that it is kept in.
    pub(super) fn spool(&self) -> &Arc<Spool> {
        &self.spool
    }

    /// The columns, as far as they are known.
    pub(super) fn schema(&self) -> SchemaRef {
        SchemaRef::clone(&self.lock().schema)
    }

    /// Says what the columns are.
    pub(super) fn set_schema(&self, schema: SchemaRef) {
        self.lock().schema = schema;
    }

    /// Adds rows that are here already.
    pub(super) fn add_table(&self, rows: RecordBatch) {
        let mut state = self.lock();
        state.schema = rows.schema();
        let bytes = rows.get_array_memory_size();
        self.keep(&mut state, rows.num_rows() as u64, bytes, Data::Table(rows));
    }

    /// Adds rows of an Arrow stream, and waits for room for them: for the client to read, where files are not to be
    /// had. Cancel-safe: the rows are added or not.
    pub(super) async fn add(&self, writer: &mut Writer, rows: u64, stream: Bytes) {
        loop {
            let room = self.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            match self.step(rows, &stream) {
                Step::Kept => return,
                Step::Spill(start, bytes) => {
                    let stored = writer.write(bytes).await;
                    self.lock().spilt(start, stored);
                }
                Step::Write => {
                    if let Some(stored) = writer.write(stream.clone()).await {
                        self.keep(&mut self.lock(), rows, stream.len(), Data::Disk(stored));
                        return;
                    }
                    match self.without_room(rows, &stream) {
                        Squeezed::Kept => return,
                        Squeezed::MadeRoom => {}
                        Squeezed::Full => room.await,
                    }
                }
            }
        }
    }

    fn keep(&self, state: &mut State, rows: u64, bytes: usize, data: Data) {
        state.add(rows, data);
        state.bytes = state.bytes.saturating_add(bytes);
        state.waits = false;
        self.news.notify_waiters();
    }

    /// Forgets rows that were read. If there are none, a client that waits gets what comes, however little room
    /// there is.
    fn without_room(&self, rows: u64, stream: &Bytes) -> Squeezed {
        let mut state = self.lock();
        if state.forget_read() {
            return Squeezed::MadeRoom;
        }
        if state.memory > 0 {
            state.waits = true;
            self.news.notify_waiters();
            return Squeezed::Full;
        }
        let held = Arc::new(self.spool.memory.hold(stream.len() as u64));
        self.keep(&mut state, rows, stream.len(), Data::Memory(stream.clone(), held));
        Squeezed::Kept
    }

    /// Keeps rows in memory, or says what else to do.
    fn step(&self, rows: u64, stream: &Bytes) -> Step {
        let mut state = self.lock();
        let bytes = stream.len();
        let fits = state.memory.saturating_add(bytes) <= self.window;
        let held = if fits {
            self.spool.memory.try_hold(bytes as u64)
        } else {
            None
        };
        let Some(held) = held else {
            let spill = |(start, bytes)| Step::Spill(start, bytes);
            return state.oldest_read().map_or(Step::Write, spill);
        };
        let data = Data::Memory(stream.clone(), Arc::new(held));
        self.keep(&mut state, rows, bytes, data);
        Step::Kept
    }

    /// Says that nothing follows. The first call counts, and answers true.
    pub(super) fn finish(&self, end: Result<(), Failure>) -> bool {
        let mut state = self.lock();
        let is_first = state.end.is_none();
        state.end.get_or_insert(end);
        drop(state);
        self.news.notify_waiters();
        is_first
    }

    /// Rows that came.
    pub(super) fn received(&self) -> u64 {
        self.lock().received
    }

    /// True once its client has read the last row.
    pub(super) fn is_read(&self) -> bool {
        let state = self.lock();
        state.end.is_some() && state.read_to >= state.received
    }

    /// Waits until there is so much that its client had better begin to read: enough, or more than there is room for.
    /// Cancel-safe.
    pub(super) async fn ample(&self) {
        let enough = self.enough;
        self.until(|state| state.waits || (state.received > 0 && state.bytes >= enough))
            .await;
    }

    /// Waits for a state of it. Cancel-safe.
    async fn until(&self, holds: impl Fn(&State) -> bool) {
        loop {
            let news = self.news.notified();
            tokio::pin!(news);
            news.as_mut().enable();
            if holds(&self.lock()) {
                return;
            }
            news.await;
        }
    }

    /// Goes to a row, if it is still there.
    pub(super) fn turn_to(&self, row: u64) -> bool {
        let mut state = self.lock();
        let first = state.segments.front().map_or(state.received, |front| front.start);
        if row < first {
            return false;
        }
        state.read_to = row;
        true
    }

    /// The rows around row `at`, once they are there; `None` behind the last one. Cancel-safe.
    ///
    /// # Errors
    /// What the result ended with, if that was before this row; a row that is not kept any more.
    pub(super) async fn find(&self, at: u64) -> Result<Option<Segment>, Failure> {
        loop {
            let news = self.news.notified();
            tokio::pin!(news);
            news.as_mut().enable();
            if let Some(found) = self.look(at) {
                return found;
            }
            news.await;
        }
    }

    /// The same without waiting: `None` while it is not known whether there is such a row.
    pub(super) fn look(&self, at: u64) -> Option<Result<Option<Segment>, Failure>> {
        let state = self.lock();
        if let Some(segment) = state.find(at) {
            return Some(Ok(Some(segment.clone())));
        }
        if at < state.received {
            return Some(Err(Failure::gone(at)));
        }
        let end = state.end.as_ref()?;
        Some(end.clone().map(|()| None))
    }

    /// Notes that the client reads on from this row.
    pub(super) fn read_to(&self, at: u64) {
        self.lock().read_to = at;
        self.room.notify_waiters();
    }
}

impl State {
    fn add(&mut self, rows: u64, data: Data) {
        if rows == 0 {
            return;
        }
        let start = self.received;
        let segment = Segment { start, rows, data };
        self.received += rows;
        self.memory += segment.memory();
        self.segments.push_back(segment);
    }

    fn find(&self, at: u64) -> Option<&Segment> {
        let index = self.segments.partition_point(|segment| segment.end() <= at);
        self.segments.get(index).filter(|segment| segment.start <= at)
    }

    /// The first rows in memory that the client has read.
    fn oldest_read(&self) -> Option<(u64, Bytes)> {
        let read = self
            .segments
            .iter()
            .take_while(|segment| segment.end() <= self.read_to);
        read.into_iter().find_map(|segment| match &segment.data {
            Data::Memory(bytes, _) => Some((segment.start, bytes.clone())),
            Data::Table(_) | Data::Disk(_) => None,
        })
    }

    /// Rows that were in memory are in a file now; without one, they and all before them are forgotten, unless the
    /// client has turned back to them.
    fn spilt(&mut self, start: u64, stored: Option<Stored>) {
        let Some(stored) = stored else {
            while self.segments.front().is_some_and(|front| front.start <= start) && self.forget_read() {}
            return;
        };
        let index = self.segments.partition_point(|segment| segment.start < start);
        if let Some(segment) = self.segments.get_mut(index) {
            self.memory = self.memory.saturating_sub(segment.memory());
            segment.data = Data::Disk(stored);
        }
    }

    /// Forgets the first rows if the client has read them.
    fn forget_read(&mut self) -> bool {
        let is_read = self
            .segments
            .front()
            .is_some_and(|front| front.end() <= self.read_to);
        if is_read {
            self.forget_front();
        }
        is_read
    }

    fn forget_front(&mut self) {
        if let Some(front) = self.segments.pop_front() {
            self.memory = self.memory.saturating_sub(front.memory());
        }
    }
}

#[cfg(test)]
mod tests;
