//! Open-loop load: requests become due at a fixed rate, whatever became of earlier ones.
//!
//! The pace is kept by a thread of its own, since the runtime's timer ticks only every millisecond. A latency counts
//! from the moment a request was due, so that a server which stalls is charged for everything it held up.

use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::Context;
use futures_util::stream::{FuturesUnordered, StreamExt};
use hdrhistogram::Histogram;
use tokio::sync::mpsc;

/// Requests in flight at most; more become late, and count as such.
const MAX_IN_FLIGHT: usize = 1024;
const LONGEST_NANOS: u64 = 600_000_000_000;

/// Latencies in nanoseconds, and what failed.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Latencies of answered requests.
    pub latency: Histogram<u64>,
    /// Requests that ended with an error.
    pub errors: u64,
    /// The first error.
    pub first_error: Option<String>,
}

impl Sample {
    /// Nothing measured yet.
    ///
    /// # Errors
    /// Never with the bounds that are built in.
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self {
            latency: Histogram::new_with_bounds(1_000, LONGEST_NANOS, 3)?,
            errors: 0,
            first_error: None,
        })
    }

    /// Takes one outcome in.
    pub fn record<T, E: std::fmt::Display>(&mut self, elapsed: Duration, outcome: &Result<T, E>) {
        match outcome {
            Ok(_) => self
                .latency
                .saturating_record(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX)),
            Err(error) => {
                self.errors += 1;
                self.first_error.get_or_insert_with(|| error.to_string());
            }
        }
    }

    /// Takes another sample in.
    ///
    /// # Errors
    /// Never between samples of this type.
    pub fn add(&mut self, other: &Self) -> anyhow::Result<()> {
        self.latency.add(&other.latency)?;
        self.errors += other.errors;
        if self.first_error.is_none() {
            self.first_error.clone_from(&other.first_error);
        }
        Ok(())
    }

    /// The latency that this share of the requests stayed under.
    pub fn quantile(&self, share: f64) -> Duration {
        Duration::from_nanos(self.latency.value_at_quantile(share))
    }

    /// The longest latency.
    pub fn max(&self) -> Duration {
        Duration::from_nanos(self.latency.max())
    }
}

/// How fast, for how long.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Requests a second.
    pub rate: f64,
    /// For how long requests become due.
    pub duration: Duration,
}

impl Pace {
    /// Makes requests with `send` at this pace and adds their latencies to `sample`. Waits for the last answer.
    ///
    /// # Errors
    /// When the pacing thread cannot be started.
    pub async fn run<F, T, E>(self, sample: &mut Sample, send: impl Fn() -> F) -> anyhow::Result<()>
    where
        F: Future<Output = Result<T, E>>,
        E: std::fmt::Display,
    {
        let (due, mut ticks) = mpsc::channel(MAX_IN_FLIGHT);
        let clock = std::thread::Builder::new()
            .name("pace".to_owned())
            .spawn(move || self.tick(&due))?;
        let mut in_flight = FuturesUnordered::new();
        let mut more = true;
        while more || !in_flight.is_empty() {
            tokio::select! {
                biased;
                Some((at, outcome)) = in_flight.next() => {
                    let at: Instant = at;
                    sample.record(at.elapsed(), &outcome);
                }
                tick = ticks.recv(), if more && in_flight.len() < MAX_IN_FLIGHT => match tick {
                    Some(at) => {
                        let request = send();
                        in_flight.push(async move { (at, request.await) });
                    }
                    None => more = false,
                },
            }
        }
        clock.join().ok().context("the pacing thread panicked")
    }

    fn tick(self, due: &mpsc::Sender<Instant>) {
        let start = Instant::now();
        let step = Duration::from_secs_f64(1.0 / self.rate.max(0.001));
        let mut at = start;
        while at.duration_since(start) < self.duration {
            std::thread::sleep(at.saturating_duration_since(Instant::now()));
            if due.blocking_send(at).is_err() {
                return;
            }
            at += step;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stalled_server_is_charged_for_what_it_held_up() {
        let gate = std::sync::Arc::new(tokio::sync::Mutex::new(()));
        let mut sample = Sample::new().unwrap();
        let pace = Pace {
            rate: 100.0,
            duration: Duration::from_millis(200),
        };
        // One request at a time, 30 ms each, at 10 ms pace: the last of 20 waits about 400 ms.
        let send = || async {
            let _one = gate.lock().await;
            tokio::time::sleep(Duration::from_millis(30)).await;
            Ok::<_, String>(())
        };
        pace.run(&mut sample, send).await.unwrap();
        assert_eq!(sample.latency.len(), 20);
        assert!(sample.max() >= Duration::from_millis(300), "{:?}", sample.max());
    }

    #[test]
    fn errors_are_counted_and_not_timed() {
        let mut sample = Sample::new().unwrap();
        sample.record::<(), _>(Duration::from_millis(1), &Err("no"));
        assert_eq!((sample.errors, sample.latency.len()), (1, 0));
        assert_eq!(sample.first_error.as_deref(), Some("no"));
    }
}
