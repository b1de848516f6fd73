//! What a client has of a result, and which answers of a run it still needs.
//!
//! Every answer gets a response id of Berth's own, which says how far the client is, so that any broker can go on.
//! After a loss a read runs again: what the client has is skipped if it is the same, by a digest over its batches;
//! if it is not, the result cannot be continued.

use berth_core::ids::Epoch;
use berth_core::record::SessionRecord;
use berth_core::wire;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::codec::Message;
use super::rewrite::{self, Answer, Kind};
use super::rpc::{Rpc, answer};

/// A place in a result, as its response id says it: `b1-<epoch>-<position>-<serial>~<driver's response id>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Position {
    /// The epoch in which the answer came.
    pub(crate) epoch: Epoch,
    /// Messages of the result up to here, progress not counted.
    pub(crate) position: u64,
    /// Makes the ids of one result differ.
    serial: u64,
    /// The driver's own id of the answer, to continue there.
    pub(crate) upstream: Option<String>,
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let upstream = self.upstream.as_deref().unwrap_or_default();
        write!(
            f,
            "b1-{}-{}-{}~{upstream}",
            self.epoch.get(),
            self.position,
            self.serial
        )
    }
}

impl Position {
    /// Reads a response id; `None` if Berth never made it.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (place, upstream) = text.strip_prefix("b1-")?.split_once('~')?;
        let mut numbers = place.split('-').map(|number| number.parse::<u64>().ok());
        let mut number = || numbers.next().flatten();
        let (epoch, position, serial) = (Epoch::from_wire(number()?)?, number()?, number()?);
        let upstream = if upstream.is_empty() {
            None
        } else {
            Some(upstream.to_owned())
        };
        Some(Self {
            epoch,
            position,
            serial,
            upstream,
        })
    }
}

/// What is to be done with an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The client gets it.
    Pass(Message),
    /// The client has it already.
    Skip,
    /// This run is not the one that the client has the beginning of.
    Diverged,
}

/// How far a run is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Progress {
    /// Batches, or chunks of them.
    batches: u64,
    /// Digest over the batches in order.
    digest: u64,
    /// Schemas.
    schemas: u64,
    /// Digest over the schemas in order.
    schema_digest: u64,
    /// Metrics, results of commands.
    others: u64,
}

/// The state of one result towards its client.
#[derive(Debug, Clone, Default)]
pub(crate) struct Delivery {
    position: u64,
    serial: u64,
    touched: bool,
    complete: bool,
    /// The client's operation id, once the driver knows the operation by another one.
    renamed: Option<String>,
    /// What the client has.
    delivered: Progress,
    /// What the current run has brought.
    run: Progress,
}

impl Delivery {
    /// A result of which the client has nothing.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// A result that its client has up to `place`, delivered by another broker.
    pub(crate) fn after(place: &Position) -> Self {
        Self {
            position: place.position,
            serial: place.serial,
            touched: true,
            ..Self::default()
        }
    }

    /// The plan runs again from its start, at the driver under an id of its own.
    pub(crate) fn restart(&mut self, operation: &str) {
        self.renamed = Some(operation.to_owned());
        self.run = Progress::default();
    }

    /// Messages of the result that were passed, progress not counted.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// True when the client has nothing at all, not even progress.
    pub(crate) fn is_untouched(&self) -> bool {
        !self.touched
    }

    /// True when the client was told that nothing follows.
    pub(crate) fn is_complete(&self) -> bool {
        self.complete
    }

    /// Judges an answer of the current run.
    pub(crate) fn admit(&mut self, epoch: Epoch, record: &SessionRecord, answer: &Answer) -> Verdict {
        let verdict = match answer.kind {
            Kind::Progress | Kind::Event => Ok(true),
            Kind::Batch => self.admit_batch(answer.payload()),
            Kind::Schema => self.admit_schema(answer.payload()),
            Kind::Other => Ok(self.admit_other()),
            Kind::Complete if self.run.batches < self.delivered.batches => Err(()),
            Kind::Complete => Ok(true),
        };
        match verdict {
            Err(()) => Verdict::Diverged,
            Ok(false) => Verdict::Skip,
            Ok(true) => Verdict::Pass(self.present(epoch, record, answer)),
        }
    }

    fn admit_batch(&mut self, payload: &[u8]) -> Result<bool, ()> {
        self.run.batches += 1;
        self.run.digest = xxh3_64_with_seed(payload, self.run.digest);
        if self.run.batches > self.delivered.batches {
            self.delivered.batches = self.run.batches;
            self.delivered.digest = self.run.digest;
            return Ok(true);
        }
        let caught_up = self.run.batches == self.delivered.batches;
        if caught_up && self.run.digest != self.delivered.digest {
            Err(())
        } else {
            Ok(false)
        }
    }

    fn admit_schema(&mut self, payload: &[u8]) -> Result<bool, ()> {
        self.run.schemas += 1;
        self.run.schema_digest = xxh3_64_with_seed(payload, self.run.schema_digest);
        if self.run.schemas > self.delivered.schemas {
            self.delivered.schemas = self.run.schemas;
            self.delivered.schema_digest = self.run.schema_digest;
            return Ok(true);
        }
        let caught_up = self.run.schemas == self.delivered.schemas;
        if caught_up && self.run.schema_digest != self.delivered.schema_digest {
            Err(())
        } else {
            Ok(false)
        }
    }

    // Figures differ between two runs of one plan, so these are counted and not compared.
    fn admit_other(&mut self) -> bool {
        self.run.others += 1;
        let is_new = self.run.others > self.delivered.others;
        self.delivered.others = self.delivered.others.max(self.run.others);
        is_new
    }

    fn present(&mut self, epoch: Epoch, record: &SessionRecord, answer: &Answer) -> Message {
        self.touched = true;
        self.complete |= answer.kind == Kind::Complete;
        self.serial += 1;
        self.position += u64::from(answer.kind != Kind::Progress);
        let place = Position {
            epoch,
            position: self.position,
            serial: self.serial,
            upstream: Some(answer.response_id.clone()).filter(|id| !id.is_empty()),
        };
        rewrite::response(Rpc::ExecutePlan, record, answer.body.clone(), |tail| {
            wire::append_string(tail, answer::RESPONSE_ID, &place.to_string());
            if let Some(operation) = &self.renamed {
                wire::append_string(tail, answer::OPERATION_ID, operation);
            }
        })
    }
}

#[cfg(test)]
mod tests;
