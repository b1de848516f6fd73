//! The bytes of a connection, cut into messages.

use std::ops::RangeInclusive;
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::wire::{self, Fault};

/// A message that has begun goes on within this time.
const STALL: Duration = Duration::from_secs(60);
/// What may wait behind a call that is being answered.
const MAX_AHEAD_BYTES: usize = 64 << 10;
/// Room for what is read at once: little for a connection that is idle or makes small calls, more as more comes.
const READ_BYTES: RangeInclusive<usize> = 4 << 10..=64 << 10;

/// Why a connection is over.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
    /// It broke.
    #[error("the connection broke")]
    Broken(#[from] std::io::Error),
    /// Its client stopped in the middle of something.
    #[error("the client was silent for too long")]
    Silent,
    /// A message is too large.
    #[error("a message of {0} bytes is over the limit")]
    TooLarge(usize),
    /// What came is no message.
    #[error(transparent)]
    Malformed(#[from] Fault),
}

/// The reading half of a connection.
#[derive(Debug)]
pub(super) struct Inbound<R> {
    read: R,
    /// As it came, where frames have to be taken off.
    raw: BytesMut,
    /// Bytes of messages.
    messages: BytesMut,
    framed: bool,
    /// What is left of the frame that has begun.
    frame_left: usize,
    /// Room for what is read next.
    room: usize,
    most: usize,
}

impl<R: AsyncRead + Unpin> Inbound<R> {
    /// A connection whose messages have at most `most` bytes.
    pub(super) fn new(read: R, most: usize) -> Self {
        Self {
            read,
            raw: BytesMut::new(),
            messages: BytesMut::new(),
            framed: false,
            frame_left: 0,
            room: *READ_BYTES.start(),
            most,
        }
    }

    /// The next bytes, as they are, before anything is a message. The caller bounds the time.
    pub(super) async fn exactly(&mut self, length: usize) -> Result<Option<Bytes>, Ended> {
        while self.raw.len() < length {
            if self.read.read_buf(&mut self.raw).await? == 0 {
                return Ok(None);
            }
        }
        Ok(Some(self.raw.split_to(length).freeze()))
    }

    /// The first byte, which stays.
    pub(super) async fn first(&mut self) -> Result<Option<u8>, Ended> {
        while self.raw.is_empty() {
            if self.read.read_buf(&mut self.raw).await? == 0 {
                return Ok(None);
            }
        }
        Ok(self.raw.first().copied())
    }

    /// From here on messages come, in frames or without.
    pub(super) fn begin(&mut self, framed: bool) {
        self.framed = framed;
    }

    /// Sets how long a message may be from now on.
    pub(super) fn allow(&mut self, most: usize) {
        self.most = most;
    }

    /// The next message; `None` when the client leaves between two of them, or says nothing within `patience`.
    pub(super) async fn next(&mut self, patience: Duration) -> Result<Option<Bytes>, Ended> {
        let mut needed = 1;
        loop {
            self.unframe()?;
            if self.messages.len() >= needed {
                match wire::read(&self.messages).map(|message| message.length) {
                    Ok(length) => return Ok(Some(self.messages.split_to(length).freeze())),
                    Err(Fault::Short(least)) if least > self.most => return Err(Ended::TooLarge(least)),
                    Err(Fault::Short(least)) => needed = least,
                    Err(fault) => return Err(fault.into()),
                }
                continue;
            }
            let begun = !self.messages.is_empty() || !self.raw.is_empty() || self.frame_left > 0;
            let wait = if begun { STALL } else { patience };
            if !begun {
                // What the last message took, which may have been a long one, is not kept while nothing comes.
                (self.raw, self.messages) = (BytesMut::new(), BytesMut::new());
                self.room = *READ_BYTES.start();
            }
            match (tokio::time::timeout(wait, self.more()).await, begun) {
                (Ok(read), begun) => match (read?, begun) {
                    (0, true) => return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into()),
                    (0, false) => return Ok(None),
                    _ => {}
                },
                (Err(_), true) => return Err(Ended::Silent),
                (Err(_), false) => return Ok(None),
            }
        }
    }

    /// Waits until the client has left, while a call of it is answered. What it sends meanwhile is kept, within
    /// bounds. Cancel-safe.
    pub(super) async fn gone(&mut self) {
        while self.messages.len() + self.raw.len() < MAX_AHEAD_BYTES {
            match self.more().await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
        std::future::pending().await
    }

    async fn more(&mut self) -> std::io::Result<usize> {
        let into = if self.framed {
            &mut self.raw
        } else {
            &mut self.messages
        };
        into.reserve(self.room);
        let read = self.read.read_buf(into).await?;
        self.room = (2 * read).clamp(*READ_BYTES.start(), *READ_BYTES.end());
        Ok(read)
    }

    /// Takes frames off.
    fn unframe(&mut self) -> Result<(), Ended> {
        if !self.framed {
            if self.messages.is_empty() {
                self.messages = std::mem::take(&mut self.raw);
            } else if !self.raw.is_empty() {
                self.messages.unsplit(std::mem::take(&mut self.raw));
            }
            return Ok(());
        }
        loop {
            if self.frame_left == 0 {
                if self.raw.len() < 4 {
                    return Ok(());
                }
                let length = usize::try_from(self.raw.get_u32()).unwrap_or(usize::MAX);
                if length > self.most {
                    return Err(Ended::TooLarge(length));
                }
                self.frame_left = length;
            }
            let there = self.frame_left.min(self.raw.len());
            if there == 0 && self.frame_left > 0 {
                return Ok(());
            }
            let part = self.raw.split_to(there);
            if self.messages.is_empty() {
                self.messages = part;
            } else {
                self.messages.extend_from_slice(&part);
            }
            self.frame_left -= there;
        }
    }
}

#[cfg(test)]
mod tests;
