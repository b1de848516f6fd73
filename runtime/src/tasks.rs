//! Tasks with a name and an owner, and shutdown in two phases.
//!
//! Every task belongs to a [`Tasks`]. Its owner asks it to end with [`Tasks::drain`] (finish what runs) or
//! [`Tasks::abort`] (stop now) and waits for it. A panic in a task is logged and counted, never silent.

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The two signals of a shutdown. Clones and children share the signals of their parent.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    drain: CancellationToken,
    abort: CancellationToken,
}

impl Shutdown {
    /// Signals that nobody has given yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Signals that follow these and can be given earlier on their own.
    #[must_use]
    pub fn child(&self) -> Self {
        Self {
            drain: self.drain.child_token(),
            abort: self.abort.child_token(),
        }
    }

    /// Asks to accept nothing new and to finish what runs.
    pub fn drain(&self) {
        self.drain.cancel();
    }

    /// Asks to stop now. Implies [`Shutdown::drain`].
    pub fn abort(&self) {
        self.drain.cancel();
        self.abort.cancel();
    }

    /// True once a drain was asked for.
    pub fn is_draining(&self) -> bool {
        self.drain.is_cancelled()
    }

    /// Waits for the drain signal. Cancel-safe.
    pub async fn draining(&self) {
        self.drain.cancelled().await;
    }

    /// Waits for the abort signal. Cancel-safe.
    pub async fn aborting(&self) {
        self.abort.cancelled().await;
    }
}

/// An owner of tasks.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    shutdown: Shutdown,
    tracker: TaskTracker,
}

impl Tasks {
    /// An owner whose tasks listen to `shutdown`.
    pub fn new(shutdown: Shutdown) -> Self {
        Self {
            shutdown,
            tracker: TaskTracker::new(),
        }
    }

    /// The signals its tasks listen to.
    pub fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }

    /// Starts a task that is dropped at the abort signal. It should end by itself at the drain signal.
    pub fn spawn<F>(&self, name: &'static str, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let abort = self.shutdown.abort.clone();
        let watched = async move {
            tokio::select! {
                () = abort.cancelled() => tracing::debug!(task = name, "task aborted"),
                () = future => {}
            }
        };
        let handle = self.tracker.spawn(watched);
        self.tracker.spawn(async move {
            if let Err(error) = handle.await
                && error.is_panic()
            {
                metrics::counter!("berth_task_panics_total", "task" => name).increment(1);
                tracing::error!(task = name, %error, "task panicked");
            }
        });
    }

    /// Starts a task that must not be dropped half-way: it ignores the abort signal and has a deadline instead.
    pub fn spawn_to_end<F>(&self, name: &'static str, deadline: Duration, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.tracker.spawn(async move {
            if tokio::time::timeout(deadline, future).await.is_err() {
                tracing::warn!(task = name, ?deadline, "task given up at its deadline");
            }
        });
    }

    /// How many tasks run. Each spawned task counts with its watcher.
    pub fn running(&self) -> usize {
        self.tracker.len()
    }

    /// Gives the drain signal, waits up to `patience`, then gives the abort signal and waits for the rest.
    /// Answers true if everything ended within the patience.
    pub async fn stop(&self, patience: Duration) -> bool {
        self.shutdown.drain();
        self.tracker.close();
        let finished = tokio::time::timeout(patience, self.tracker.wait()).await.is_ok();
        self.shutdown.abort();
        self.tracker.wait().await;
        finished
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn stop_waits_for_tasks_that_drain_and_aborts_the_rest() {
        let tasks = Tasks::new(Shutdown::new());
        let signals = tasks.shutdown().clone();
        tasks.spawn("drains", async move { signals.draining().await });
        assert!(tasks.stop(Duration::from_secs(5)).await);

        let stubborn = Tasks::new(Shutdown::new());
        stubborn.spawn("never ends", std::future::pending());
        assert!(!stubborn.stop(Duration::from_secs(5)).await);
        assert_eq!(stubborn.running(), 0);
    }

    #[tokio::test]
    async fn a_child_follows_its_parent_and_not_the_other_way_round() {
        let parent = Shutdown::new();
        let child = parent.child();
        child.drain();
        assert!(!parent.is_draining());
        let other = parent.child();
        parent.abort();
        other.aborting().await;
    }
}
