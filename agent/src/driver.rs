//! One driver: what is known of it, and its end.

mod batch;
pub(crate) mod host;
pub(crate) mod launch;
pub(crate) mod preflight;
pub(crate) mod probe;
pub(crate) mod saved;
pub(crate) mod scratch;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use berth_core::ids::{DriverId, ProfileName};
use berth_runtime::clock::boot_time;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::control::frames::{Answer, ToHost};
use crate::process::{self, Process};
use scratch::Scratch;

/// Calls of one driver that wait for their answer at once.
const MAX_CALLS: usize = 64;
/// So much of a log's end is searched for what went wrong.
const LAST_BYTES: usize = 16 << 10;
/// A call that takes longer is given up.
const CALL_DEADLINE: Duration = Duration::from_secs(5);

/// Where a driver is in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Phase {
    /// On its way, busy with this.
    Starting(String),
    /// Serving.
    Ready(Ready),
    /// Gone, for this reason.
    Ended(String),
}

impl Phase {
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self, Self::Ended(_))
    }
}

/// What a driver said when it was ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ready {
    /// Loopback port of Spark Connect; 0 for the place of a batch.
    pub(crate) port: u16,
    /// The JVM; for the place of a batch, the runner.
    pub(crate) jvm_pid: u32,
    pub(crate) spark_version: String,
    /// Spark's id of the application; empty for the place of a batch.
    #[serde(default)]
    pub(crate) app_id: String,
    /// Where its web pages are; empty without any.
    #[serde(default)]
    pub(crate) ui_url: String,
}

/// Why a driver host did not answer a call.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    #[error("the driver's host is not connected")]
    NotConnected,
    #[error("the driver's host has too many calls to answer")]
    Busy,
    #[error("the driver's host did not answer within {CALL_DEADLINE:?}")]
    Late,
    #[error("the driver's host failed: {0}")]
    Failed(String),
}

/// A driver of this node.
#[derive(Debug)]
pub(crate) struct Driver {
    pub(crate) id: DriverId,
    pub(crate) profile: ProfileName,
    /// The host's supervisor, leader of a process group of its own.
    pub(crate) host: Process,
    /// What brokers show to the driver.
    pub(crate) connect_token: String,
    /// What the host shows to the agent.
    pub(crate) secret: String,
    pub(crate) started_at: u64,
    pub(crate) directory: PathBuf,
    pub(crate) scratch: Scratch,
    pub(crate) phase: watch::Sender<Phase>,
    /// When something last passed through a tunnel, in milliseconds of the boot clock.
    used_at: AtomicU64,
    /// When a client of its sessions was last heard of, in the same milliseconds.
    called_at: AtomicU64,
    wire: Mutex<Wire>,
}

/// The control channel as the driver knows it.
#[derive(Debug)]
struct Wire {
    to_host: Option<mpsc::Sender<ToHost>>,
    heard_at: Instant,
    next_call: u64,
    calls: BTreeMap<u64, oneshot::Sender<Answer>>,
    /// Why the agent ends the driver, once it does.
    ending: Option<&'static str>,
}

impl Wire {
    fn new() -> Self {
        Self {
            to_host: None,
            heard_at: Instant::now(),
            next_call: 1,
            calls: BTreeMap::new(),
            ending: None,
        }
    }
}

impl Driver {
    fn wire(&self) -> MutexGuard<'_, Wire> {
        self.wire.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the driver said when it was ready, while it is.
    pub(crate) fn ready(&self) -> Option<Ready> {
        match &*self.phase.borrow() {
            Phase::Ready(ready) => Some(ready.clone()),
            Phase::Starting(_) | Phase::Ended(_) => None,
        }
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.phase.borrow().has_ended()
    }

    /// Moves to a phase, unless the driver has ended or was ready before. True if it moved.
    pub(crate) fn advance(&self, next: Phase) -> bool {
        self.phase.send_if_modified(|phase| {
            let moves = matches!(phase, Phase::Starting(_)) && *phase != next;
            if moves {
                *phase = next;
            }
            moves
        })
    }

    /// The host has connected; a connection before this one gets nothing more.
    pub(crate) fn connected(&self, to_host: mpsc::Sender<ToHost>) {
        let mut wire = self.wire();
        wire.to_host = Some(to_host);
        wire.heard_at = Instant::now();
    }

    /// Something passes through a tunnel, or a statement runs.
    pub(crate) fn used(&self) {
        self.used_at.store(boot_millis(), Ordering::Relaxed);
    }

    /// For how long nothing has.
    pub(crate) fn idle(&self) -> Duration {
        since(&self.used_at)
    }

    /// A session has it from now on.
    pub(crate) fn given(&self) {
        self.touched(Duration::ZERO, true);
    }

    /// A client was heard of so long ago, and with `used` it did something that counts as use.
    pub(crate) fn touched(&self, ago: Duration, used: bool) {
        let ago = u64::try_from(ago.as_millis()).unwrap_or(u64::MAX);
        let at = boot_millis().saturating_sub(ago);
        self.called_at.fetch_max(at, Ordering::Relaxed);
        if used {
            self.used_at.fetch_max(at, Ordering::Relaxed);
        }
    }

    /// For how long no client was.
    pub(crate) fn uncalled(&self) -> Duration {
        since(&self.called_at)
    }

    /// The host has been heard.
    pub(crate) fn heard(&self) {
        self.wire().heard_at = Instant::now();
    }

    /// How long the host has been silent.
    pub(crate) fn silence(&self) -> Duration {
        self.wire().heard_at.elapsed()
    }

    /// Sends to the host if it is connected and reads. What must arrive is sent again when it connects.
    pub(crate) fn tell(&self, frame: ToHost) -> bool {
        let to_host = self.wire().to_host.clone();
        to_host.is_some_and(|to_host| to_host.try_send(frame).is_ok())
    }

    /// Asks the host something and waits for the answer.
    pub(crate) async fn call(&self, ask: impl FnOnce(u64) -> ToHost) -> Result<Answer, CallError> {
        let (sender, answer) = oneshot::channel();
        let number = {
            let mut wire = self.wire();
            // Callers that have gone leave their place behind.
            wire.calls.retain(|_, waiting| !waiting.is_closed());
            if wire.calls.len() >= MAX_CALLS {
                return Err(CallError::Busy);
            }
            let number = wire.next_call;
            wire.next_call += 1;
            wire.calls.insert(number, sender);
            number
        };
        if !self.tell(ask(number)) {
            return Err(CallError::NotConnected);
        }
        match tokio::time::timeout(CALL_DEADLINE, answer).await {
            Ok(Ok(Answer {
                error: Some(error), ..
            })) => Err(CallError::Failed(error)),
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) | Err(_) => Err(CallError::Late),
        }
    }

    /// The host has answered a call.
    pub(crate) fn answered(&self, answer: Answer) {
        if let Some(waiting) = self.wire().calls.remove(&answer.call) {
            // A caller that has gone does not need it.
            let _gone = waiting.send(answer);
        }
    }

    pub(crate) fn log_path(&self) -> PathBuf {
        self.directory.join("driver.log")
    }

    /// Where files for its session are put. They go with its scratch files.
    pub(crate) fn resources(&self) -> PathBuf {
        self.scratch.local.join("resources")
    }

    /// Kills the host, its JVM and every other process of the driver.
    pub(crate) async fn kill(&self) {
        let (host, id) = (self.host, self.id);
        let killed = tokio::task::spawn_blocking(move || {
            host.kill_group();
            process::sweep(id);
        });
        if let Err(error) = killed.await {
            tracing::error!(driver.id = %id, %error, "a driver could not be killed");
        }
    }

    /// Kills the driver on purpose.
    pub(crate) async fn end(&self, reason: &'static str) {
        self.wire().ending.get_or_insert(reason);
        self.kill().await;
    }

    /// Why the agent has ended it, if it has.
    pub(crate) fn ending(&self) -> Option<&'static str> {
        self.wire().ending
    }

    /// Waits until it has ended. False if it has not within `patience`.
    pub(crate) async fn ended(&self, patience: Duration) -> bool {
        let mut phase = self.phase.subscribe();
        let ended = phase.wait_for(Phase::has_ended);
        tokio::time::timeout(patience, ended).await.is_ok()
    }

    /// The lines of the log that explain a start that failed.
    pub(crate) fn last_words(&self) -> String {
        let log = std::fs::read(self.log_path()).unwrap_or_default();
        last_words(&String::from_utf8_lossy(
            &log[log.len().saturating_sub(LAST_BYTES)..],
        ))
    }

    /// Removes what only a running driver needs; the log stays for a while.
    pub(crate) fn clean_up(&self) {
        saved::forget(&self.directory);
        self.scratch.remove();
    }
}

/// The first errors in the end of a log, and its last line.
fn last_words(log: &str) -> String {
    let names_error = |line: &&str| {
        let whole = !line.starts_with(|first: char| first.is_whitespace());
        whole
            && ["Error", "Exception", "error:"]
                .iter()
                .any(|word| line.contains(word))
    };
    let mut words: Vec<_> = log.lines().filter(names_error).take(3).collect();
    let last = log.lines().rev().find(|line| !line.trim().is_empty());
    words.extend(last.filter(|last| !words.contains(last)));
    let shortened = words
        .iter()
        .map(|line| line.chars().take(400).collect::<String>());
    shortened.collect::<Vec<_>>().join(" | ")
}

fn used_now() -> AtomicU64 {
    AtomicU64::new(boot_millis())
}

fn since(at: &AtomicU64) -> Duration {
    Duration::from_millis(boot_millis().saturating_sub(at.load(Ordering::Relaxed)))
}

fn boot_millis() -> u64 {
    u64::try_from(boot_time().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::last_words;

    #[test]
    fn the_last_words_name_the_errors_without_their_stacks() {
        let log = "WARN all is well\nException in thread \"main\" X: no master\n\tat a.b.Error(C.java)\n\
                   Traceback (most recent call last):\n  File \"x\", line 1\nPySparkRuntimeError: exited\nbye\n\n";
        let words = "Exception in thread \"main\" X: no master | PySparkRuntimeError: exited | bye";
        assert_eq!(last_words(log), words);
        assert_eq!(last_words(""), "");
    }
}
