//! Growing pauses with jitter between tries.

use std::time::Duration;

/// The pauses of one series of tries: each up to twice the one before it, up to a bound.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    first: Duration,
    most: Duration,
    next: Duration,
}

impl Backoff {
    pub(crate) const fn new(first: Duration, most: Duration) -> Self {
        Self {
            first,
            most,
            next: first,
        }
    }

    /// The next pause: between half of it and all of it, so that many clients do not come back at one instant.
    pub(crate) fn next(&mut self) -> Duration {
        let pause = self.next.mul_f64(rand::random_range(0.5..=1.0));
        self.next = self.most.min(self.next * 2);
        pause
    }

    /// Waits for the next pause. Cancel-safe.
    pub(crate) async fn pause(&mut self) {
        tokio::time::sleep(self.next()).await;
    }

    /// Begins again with the shortest pause, after a success.
    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i8_pauses_grow_to_their_bound_and_start_over() {
        let (first, most) = (Duration::from_millis(10), Duration::from_millis(70));
        let mut backoff = Backoff::new(first, most);
        for full in [10, 20, 40, 70, 70] {
            let full = Duration::from_millis(full);
            let pause = backoff.next();
            assert!(pause >= full / 2 && pause <= full, "{pause:?} of {full:?}");
        }
        backoff.reset();
        assert!(backoff.next() <= first);
    }
}
