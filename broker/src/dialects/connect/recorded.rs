//! A state change or a write while it runs: its lineage entry, and the answer that waits for the outcome to be
//! durable.

use berth_core::lineage::Outcome;
use bytes::{BufMut, Bytes, BytesMut};
use tonic::Status;

use super::Connect;
use super::backend::{Ended, Intent, Ticket};
use super::execution::Job;
use super::reattach::recorded_status;
use super::rewrite::{Answer, Kind};

/// How much of an answer waits for its outcome. Answers of commands are a few hundred bytes; one beyond this goes
/// to its client while it comes, and only its end waits.
const MAX_HELD_BYTES: usize = 16 << 20;

/// The entry and the held answer.
#[derive(Debug)]
pub(crate) struct Recorded {
    ticket: Ticket,
    held: Vec<Answer>,
    held_bytes: usize,
    overflowed: bool,
}

impl Recorded {
    /// Makes the intent durable.
    ///
    /// # Errors
    /// The store's refusal; nothing ran.
    pub(crate) async fn begin(connect: &Connect, job: &Job) -> Result<Self, Status> {
        let intent = Intent {
            operation: job.operation.id.clone(),
            alias: String::new(),
            class: job.classified.class,
            call: "execute".to_owned(),
            what: job.classified.what.clone(),
            key: job.classified.key.clone(),
            payload: job.request.clone().unwrap_or_default(),
            blobs: Vec::new(),
            fingerprint: job.operation.fingerprint.unwrap_or_default(),
        };
        let ticket = connect.begin(&job.route, intent).await?;
        Ok(Self::resumed(ticket))
    }

    /// An operation whose intent is durable already.
    pub(crate) fn resumed(ticket: Ticket) -> Self {
        Self {
            ticket,
            held: Vec::new(),
            held_bytes: 0,
            overflowed: false,
        }
    }

    /// Takes the answer that the session's rebuild got for this entry, if it ran there. Answers false if it did
    /// not.
    ///
    /// # Errors
    /// The status with which it failed there, or the store's.
    pub(crate) async fn take_replayed(&mut self, connect: &Connect) -> Result<bool, Status> {
        let (session, operation) = (self.ticket.session, self.ticket.operation.as_str());
        let Some(entry) = connect.recall(session, operation).await? else {
            return Ok(false);
        };
        match entry.outcome {
            Outcome::Unknown | Outcome::Succeeded { answer: None } => Ok(false),
            Outcome::Failed {
                code,
                message,
                details,
            } => Err(recorded_status(code, &message, &details)),
            Outcome::Succeeded { answer: Some(answer) } => {
                let messages = unpack(connect.payload(session, &answer).await?);
                self.held = messages.into_iter().map(Answer::read).collect::<Result<_, _>>()?;
                Ok(true)
            }
        }
    }

    /// Keeps an answer back, and gives out what may pass now: progress, and the body of a large answer.
    pub(crate) fn hold(&mut self, answer: Answer) -> Vec<Answer> {
        let passes = answer.kind == Kind::Progress || (self.overflowed && answer.kind != Kind::Complete);
        if passes {
            return vec![answer];
        }
        self.held_bytes += answer.body.len();
        self.held.push(answer);
        if self.held_bytes <= MAX_HELD_BYTES {
            return Vec::new();
        }
        self.overflowed = true;
        std::mem::take(&mut self.held)
    }

    /// Forgets what an earlier run answered.
    pub(crate) fn restart(&mut self) {
        self.held.clear();
        self.held_bytes = 0;
    }

    /// Makes the outcome durable and gives out the answer.
    ///
    /// # Errors
    /// The store's refusal: the operation ended, but that could not be written down.
    pub(crate) async fn finish(
        self,
        connect: &Connect,
        end: &Result<(), Status>,
    ) -> Result<Vec<Answer>, Status> {
        let ended = match end {
            Ok(()) if self.overflowed => Ended::Succeeded(None),
            Ok(()) => Ended::Succeeded(Some(pack(self.held.iter().map(|answer| answer.body.as_ref())))),
            Err(status) => Ended::Failed(status.clone()),
        };
        connect.finish(self.ticket, ended).await?;
        Ok(self.held)
    }
}

/// Several messages as one value: each with its length before it, four bytes, big-endian.
pub(crate) fn pack<'a>(messages: impl IntoIterator<Item = &'a [u8]>) -> Bytes {
    let mut packed = BytesMut::new();
    for message in messages {
        packed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
        packed.put_slice(message);
    }
    packed.freeze()
}

/// The messages of a packed value. What is cut short at the end is left out.
pub(crate) fn unpack(mut packed: Bytes) -> Vec<Bytes> {
    let mut messages = Vec::new();
    while let Some((length, _)) = packed.split_first_chunk::<4>() {
        let end = 4 + u32::from_be_bytes(*length) as usize;
        if end > packed.len() {
            break;
        }
        messages.push(packed.split_to(end).slice(4..));
    }
    messages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_messages_come_back_and_a_torn_end_is_left_out() {
        let packed = pack([b"one".as_slice(), b"", b"three"]);
        assert_eq!(unpack(packed.clone()), ["one", "", "three"]);
        assert_eq!(unpack(packed.slice(..packed.len() - 1)), ["one", ""]);
    }
}
