//! Sessions that a broker starts at once, up to a limit.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Sessions that are being started here, and those that are about to be.
#[derive(Debug, Default)]
pub(super) struct Starting(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    started: BTreeSet<u32>,
    reserved: usize,
}

/// Room for one more session. It is given back unless it is used.
#[derive(Debug)]
pub(super) struct Room<'a>(&'a Starting);

impl Starting {
    fn lock(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Room for a session that has no number yet, if there is any: those that ask at once do not share it.
    pub(super) fn reserve(&self, most: usize) -> Option<Room<'_>> {
        let mut held = self.lock();
        if held.started.len() + held.reserved >= most {
            return None;
        }
        held.reserved += 1;
        Some(Room(self))
    }

    /// Notes that a session is started, room or not. False if it is already.
    pub(super) fn start(&self, number: u32) -> bool {
        self.lock().started.insert(number)
    }

    /// Notes that a session has started, or has not.
    pub(super) fn has_ended(&self, number: u32) {
        self.lock().started.remove(&number);
    }
}

impl Room<'_> {
    /// Uses the room for a session. False if it is being started already.
    pub(super) fn start(self, number: u32) -> bool {
        let is_new = {
            let mut held = self.0.lock();
            held.reserved -= 1;
            held.started.insert(number)
        };
        std::mem::forget(self);
        is_new
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        self.0.lock().reserved -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// livy#37
    #[test]
    fn i8_room_is_given_once() {
        let starting = Starting::default();
        let [one, two] = [(); 2].map(|()| starting.reserve(2).unwrap());
        assert!(starting.reserve(2).is_none());
        drop(one);
        assert!(two.start(7));
        let three = starting.reserve(2).unwrap();
        assert!(!starting.start(7) && starting.reserve(2).is_none());
        starting.has_ended(7);
        drop(three);
        assert_eq!([(); 2].map(|()| starting.reserve(2).is_some()), [true; 2]);
        // What is recovered is started in any case, and counts.
        assert!(starting.start(8) && starting.start(9) && starting.reserve(2).is_none());
    }
}
