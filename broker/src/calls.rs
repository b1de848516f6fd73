//! How many calls of clients a broker serves at once, over all dialects.
//!
//! A call takes memory for its request and its answers on their way. Refusing one more, with a time to ask again, is
//! better than serving all of them badly.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Room for calls.
#[derive(Debug, Clone)]
pub struct Calls {
    room: Arc<Semaphore>,
}

impl Calls {
    /// Room for `most` calls.
    pub fn new(most: usize) -> Self {
        let room = Semaphore::new(most.min(Semaphore::MAX_PERMITS));
        Self { room: Arc::new(room) }
    }

    /// Counts a call of a dialect until the answer is dropped; `None` when there is no room.
    pub fn enter(&self, dialect: &'static str) -> Option<Call> {
        let Ok(place) = Arc::clone(&self.room).try_acquire_owned() else {
            metrics::counter!("berth_calls_refused_total", "dialect" => dialect).increment(1);
            return None;
        };
        metrics::gauge!("berth_calls", "dialect" => dialect).increment(1);
        Some(Call {
            dialect,
            _place: place,
        })
    }
}

/// A call that is being served.
#[derive(Debug)]
pub struct Call {
    dialect: &'static str,
    _place: OwnedSemaphorePermit,
}

impl Drop for Call {
    fn drop(&mut self) {
        metrics::gauge!("berth_calls", "dialect" => self.dialect).decrement(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i8_one_call_too_many_is_refused_until_another_has_ended() {
        let calls = Calls::new(2);
        let (first, _second) = (calls.enter("connect"), calls.enter("livy"));
        assert!(calls.enter("connect").is_none());
        drop(first);
        assert!(calls.enter("connect").is_some());
    }
}
