//! One execution that a client asked for, while this broker runs it or keeps its result.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use berth_core::connect::Standing;
use berth_core::ids::{Epoch, SessionId};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::attempt::Target;
use super::outbox::Outbox;
use super::registry::Key;

/// For how long a client may pause in a result before its session counts as idle.
const LONG: Duration = Duration::from_secs(15 * 60);

/// An operation. Shared by its task, the calls about it and the registry.
#[derive(Debug)]
pub(crate) struct Operation {
    /// Its session.
    pub(crate) session: SessionId,
    /// The client's id for it.
    pub(crate) id: String,
    /// Hash of the plan, to tell a repeated request from another one under the same id. `None` when it came here by
    /// a reattach, without its plan.
    pub(crate) fingerprint: Option<u64>,
    /// The client's tags, by which it can be interrupted.
    pub(crate) tags: Vec<String>,
    /// False when it ends with the call that started it.
    pub(crate) reattachable: bool,
    /// What it has for the client.
    pub(crate) outbox: Arc<Outbox>,
    /// What it has to do with other operations.
    pub(crate) standing: Standing,
    /// Given when the client wants it to stop while no driver has it.
    pub(crate) interrupted: CancellationToken,
    /// Given when another operation of its session has ended it.
    pub(crate) closed: CancellationToken,
    running: Mutex<Option<Target>>,
    heard: watch::Sender<Heard>,
}

/// From where an operation has had an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Heard {
    /// From no driver yet.
    Nowhere,
    /// From the driver of this epoch.
    In(Epoch),
    /// Nothing follows.
    Over,
}

impl Operation {
    /// An operation that does not run yet.
    pub(crate) fn new(session: SessionId, id: &str, reattachable: bool, outbox: Arc<Outbox>) -> Self {
        Self {
            session,
            id: id.to_owned(),
            fingerprint: None,
            tags: Vec::new(),
            reattachable,
            outbox,
            standing: Standing::Works,
            interrupted: CancellationToken::new(),
            closed: CancellationToken::new(),
            running: Mutex::new(None),
            heard: watch::Sender::new(Heard::Nowhere),
        }
    }

    /// Its name in the registry.
    pub(crate) fn key(&self) -> Key {
        (self.session, self.id.clone())
    }

    /// Notes where it runs from now on; `None` between two drivers.
    pub(crate) fn set_running(&self, target: Option<Target>) {
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = target;
    }

    /// Stops it if it is not over and no driver has it; answers false of any other. What it is going to be sent with
    /// [`Operation::set_running`] afterwards is not sent.
    pub(crate) fn interrupt_waiting(&self) -> bool {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let waits = running.is_none() && !self.outbox.is_finished();
        if waits {
            self.interrupted.cancel();
        }
        waits
    }

    /// True while a move of its session would cut it off. What carries the events of queries has no end of its own,
    /// and goes on at the next driver; a client that has not read for long may never read on.
    pub(crate) fn needs_driver(&self) -> bool {
        match self.standing {
            Standing::Works | Standing::Waits | Standing::ClosesEvents => {
                !self.outbox.is_finished() && !self.outbox.stands_for(LONG)
            }
            Standing::OpensEvents => false,
        }
    }

    /// Where it runs, or ran last.
    pub(crate) fn running(&self) -> Option<Target> {
        self.running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Notes an answer of the driver of this epoch.
    pub(crate) fn set_heard(&self, epoch: Epoch) {
        self.heard.send_replace(Heard::In(epoch));
    }

    /// Notes that nothing follows.
    pub(crate) fn set_over(&self) {
        self.heard.send_replace(Heard::Over);
    }

    /// Waits until the driver of this epoch, or of a later one, has answered, or nothing follows. Cancel-safe.
    pub(crate) async fn has_answered_in(&self, epoch: Epoch) {
        // It cannot fail: the sender is here.
        let mut heard = self.heard.subscribe();
        let _answered = heard.wait_for(|heard| *heard >= Heard::In(epoch)).await;
    }
}
