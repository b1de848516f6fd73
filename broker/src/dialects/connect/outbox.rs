//! What one operation has for its client: a bounded buffer with one writer and one reader at a time.
//!
//! The writer is the operation's task; it waits while too much is unsent, so that a slow client slows its driver
//! down and not the broker's memory up. The reader is the stream of an ExecutePlan or ReattachExecute call. What was
//! sent stays for a while, so that a client whose connection broke can go on where it was.
//!
//! Positions count the messages of the result from 1. Progress messages have the position of the message before
//! them: they may be lost or repeated.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tonic::Status;

use super::codec::Message;
use super::errors::{CursorFault, invalid_cursor};

/// How much an outbox holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Bytes that may wait for the client; one message may exceed it. Far below the 64 MiB that drivers keep after
    /// sending, so that whatever a client has not got can be had from the driver again by another broker.
    pub(crate) unsent_bytes: usize,
    /// Bytes kept after sending. The last message always stays.
    pub(crate) sent_bytes: usize,
}

/// The operation is over for its client: nobody will read what is pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Released;

/// What stays of an operation that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kept {
    /// Since when nobody reads.
    pub(crate) since: Instant,
    /// How much it is.
    pub(crate) bytes: usize,
}

/// The buffer. Shared by the operation's task, its calls and the registry.
#[derive(Debug)]
pub(crate) struct Outbox {
    limits: Limits,
    state: Mutex<State>,
    news: Notify,
    room: Notify,
}

#[derive(Debug)]
struct State {
    items: VecDeque<Item>,
    /// Sequence number of the front item.
    front: u64,
    /// Sequence number of the first item that was never sent.
    unsent: u64,
    unsent_bytes: usize,
    sent_bytes: usize,
    /// Position up to which everything is gone.
    gone: u64,
    /// Position of the last message pushed.
    last: u64,
    end: Option<Result<(), Status>>,
    released: bool,
    /// Rises with each attach; a reader of an older one is disconnected.
    generation: u64,
    /// Since when nobody reads.
    detached_at: Option<Instant>,
    /// When something was last taken, or came while nothing was there to take.
    moved_at: Instant,
}

#[derive(Debug)]
struct Item {
    position: u64,
    message: Message,
}

impl Outbox {
    pub(crate) fn new(limits: Limits) -> Arc<Self> {
        Self::starting_at(limits, 0)
    }

    /// An outbox that continues a result of which everything up to `position` was delivered elsewhere.
    pub(crate) fn starting_at(limits: Limits, position: u64) -> Arc<Self> {
        let state = State {
            items: VecDeque::new(),
            front: 0,
            unsent: 0,
            unsent_bytes: 0,
            sent_bytes: 0,
            gone: position,
            last: position,
            end: None,
            released: false,
            generation: 0,
            detached_at: Some(Instant::now()),
            moved_at: Instant::now(),
        };
        Arc::new(Self {
            limits,
            state: Mutex::new(state),
            news: Notify::new(),
            room: Notify::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing under this lock can panic half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for room and adds a message. Cancel-safe: the message is added or not.
    ///
    /// # Errors
    /// [`Released`] when the client wants no more.
    pub(crate) async fn push(&self, position: u64, message: Message) -> Result<(), Released> {
        loop {
            let room = self.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            if self.try_push(position, &message)? {
                return Ok(());
            }
            room.await;
        }
    }

    fn try_push(&self, position: u64, message: &Message) -> Result<bool, Released> {
        let mut state = self.lock();
        if state.released {
            return Err(Released);
        }
        if state.unsent_bytes > 0 && state.unsent_bytes + message.len() > self.limits.unsent_bytes {
            return Ok(false);
        }
        if state.unsent_bytes == 0 {
            state.moved_at = Instant::now();
        }
        state.unsent_bytes += message.len();
        state.last = position;
        state.items.push_back(Item {
            position,
            message: message.clone(),
        });
        drop(state);
        self.news.notify_waiters();
        Ok(true)
    }

    /// Says that nothing follows. The first call counts.
    pub(crate) fn finish(&self, end: Result<(), Status>) {
        self.lock().end.get_or_insert(end);
        self.news.notify_waiters();
    }

    /// Forgets everything and stops the writer: the client is done with the operation.
    pub(crate) fn release_all(&self) {
        let mut state = self.lock();
        state.released = true;
        state.items.clear();
        state.unsent_bytes = 0;
        state.sent_bytes = 0;
        drop(state);
        self.news.notify_waiters();
        self.room.notify_waiters();
    }

    /// Forgets what was sent up to `position`.
    pub(crate) fn release_until(&self, position: u64) {
        let mut state = self.lock();
        while state.front < state.unsent && state.items.front().is_some_and(|item| item.position <= position)
        {
            state.forget_front();
        }
    }

    /// True once the client has released the operation.
    pub(crate) fn is_released(&self) -> bool {
        self.lock().released
    }

    /// Waits until the client has released the operation. Cancel-safe.
    pub(crate) async fn released(&self) {
        loop {
            let room = self.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            if self.lock().released {
                return;
            }
            room.await;
        }
    }

    /// True when nothing follows what is in the buffer.
    pub(crate) fn is_finished(&self) -> bool {
        self.lock().end.is_some()
    }

    /// How it ended, if it did.
    pub(crate) fn end(&self) -> Option<Result<(), Status>> {
        self.lock().end.clone()
    }

    /// For how long nobody has read; `None` while somebody does.
    pub(crate) fn detached_for(&self) -> Option<Duration> {
        self.lock().detached_at.map(|at| at.elapsed())
    }

    /// True if there has been something to take for so long, and nobody has taken it.
    pub(crate) fn stands_for(&self, patience: Duration) -> bool {
        let state = self.lock();
        state.unsent_bytes > 0 && state.moved_at.elapsed() >= patience
    }

    /// What is kept only for a client that lost the end of what was sent; `None` while there is more to do.
    pub(crate) fn kept(&self) -> Option<Kept> {
        let state = self.lock();
        let all_sent = state.unsent == state.front + state.items.len() as u64;
        let since = state.detached_at.filter(|_| all_sent && state.end.is_some())?;
        let bytes = state.sent_bytes;
        Some(Kept { since, bytes })
    }

    /// Starts to read after `position`, from the start with 0. A reader that is there already is disconnected.
    ///
    /// # Errors
    /// INVALID_CURSOR when the position is gone or was never reached; `shown` is named in it.
    pub(crate) fn attach(self: &Arc<Self>, position: u64, shown: &str) -> Result<Reader, Status> {
        let mut state = self.lock();
        if position > state.last {
            return Err(invalid_cursor(CursorFault::PositionNotFound, shown));
        }
        if position < state.gone || state.released {
            return Err(invalid_cursor(CursorFault::PositionNotAvailable, shown));
        }
        let skipped = state
            .items
            .iter()
            .take_while(|item| item.position <= position && position > 0)
            .count();
        state.generation += 1;
        state.detached_at = None;
        let reader = Reader {
            generation: state.generation,
            next: state.front + skipped as u64,
            outbox: Arc::clone(self),
        };
        drop(state);
        self.news.notify_waiters();
        Ok(reader)
    }

    fn take(&self, reader: &mut Reader) -> Option<Taken> {
        let mut state = self.lock();
        if state.generation != reader.generation {
            return Some(Taken::End(Err(invalid_cursor(CursorFault::Disconnected, ""))));
        }
        if state.released {
            return Some(Taken::End(Ok(())));
        }
        reader.next = reader.next.max(state.front);
        let index = usize::try_from(reader.next - state.front).unwrap_or(usize::MAX);
        let Some(item) = state.items.get(index) else {
            return state.end.clone().map(Taken::End);
        };
        let message = item.message.clone();
        reader.next += 1;
        if reader.next > state.unsent {
            state.mark_sent(message.len(), self.limits.sent_bytes);
            drop(state);
            self.room.notify_waiters();
        }
        Some(Taken::Message(message))
    }
}

impl State {
    fn mark_sent(&mut self, bytes: usize, keep_bytes: usize) {
        self.unsent += 1;
        self.moved_at = Instant::now();
        self.unsent_bytes = self.unsent_bytes.saturating_sub(bytes);
        self.sent_bytes += bytes;
        while self.sent_bytes > keep_bytes && self.front + 1 < self.unsent {
            self.forget_front();
        }
    }

    fn forget_front(&mut self) {
        if let Some(item) = self.items.pop_front() {
            self.front += 1;
            self.gone = self.gone.max(item.position);
            self.sent_bytes = self.sent_bytes.saturating_sub(item.message.len());
        }
    }
}

enum Taken {
    Message(Message),
    End(Result<(), Status>),
}

/// One call's place in an outbox. Dropping it leaves the operation running without a reader.
#[derive(Debug)]
pub(crate) struct Reader {
    outbox: Arc<Outbox>,
    generation: u64,
    next: u64,
}

impl Reader {
    /// Waits for the next message; `None` at the end of the result. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Option<Result<Message, Status>> {
        let outbox = Arc::clone(&self.outbox);
        loop {
            let news = outbox.news.notified();
            tokio::pin!(news);
            news.as_mut().enable();
            match outbox.take(self) {
                Some(Taken::Message(message)) => return Some(Ok(message)),
                Some(Taken::End(Ok(()))) => return None,
                Some(Taken::End(Err(status))) => return Some(Err(status)),
                None => news.await,
            }
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = self.outbox.lock();
        if state.generation == self.generation {
            state.detached_at = Some(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests;
