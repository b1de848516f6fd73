//! Where clients that read a log line after line have got to.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

/// Batches whose readers are remembered; beyond, the oldest ids begin at the start again.
const MAX_KNOWN: usize = 10_000;

/// The next line of each batch. Each broker has its own: one that is asked anew begins at the first line.
#[derive(Debug, Default)]
pub(in crate::dialects::kyuubi) struct Cursors(Mutex<BTreeMap<Uuid, usize>>);

impl Cursors {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Uuid, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The line to begin with, for a client that asks for `from`; below 0 it goes on.
    pub(super) fn start(&self, batch: Uuid, from: i64) -> usize {
        let known = || self.lock().get(&batch).copied().unwrap_or_default();
        usize::try_from(from).unwrap_or_else(|_below_zero| known())
    }

    /// Notes how far a client has read.
    pub(super) fn advance(&self, batch: Uuid, next: usize) {
        let mut known = self.lock();
        if known.len() >= MAX_KNOWN && !known.contains_key(&batch) {
            known.pop_first();
        }
        known.insert(batch, next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_goes_on_where_it_was() {
        // kyuubi#58
        let (cursors, batch) = (Cursors::default(), Uuid::from_u128(1));
        assert_eq!(cursors.start(batch, -1), 0);
        cursors.advance(batch, 20);
        assert_eq!((cursors.start(batch, -1), cursors.start(batch, 5)), (20, 5));
    }

    #[test]
    fn i8_not_every_reader_is_remembered() {
        let cursors = Cursors::default();
        for id in 0..=MAX_KNOWN as u128 {
            cursors.advance(Uuid::from_u128(id), 7);
        }
        assert_eq!(cursors.lock().len(), MAX_KNOWN);
    }
}
