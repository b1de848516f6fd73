//! The life of a session: each transition is a function from one record to the next.
//!
//! ```text
//!   open -> Placing(e1) -> placed -> Active(e1) -> leave -> Placing(e2) -> placed -> Active(e2) .. -> close -> Closed
//!                |  the placing broker died: take_over                                               |
//!                +----------> Placing(e+1)                                     reopen -> Placing(e+1)
//! ```
//!
//! The shell writes the result only if the stored record is still the one that it read. Epochs only rise, so that
//! what an outdated broker or driver does for an old epoch is refused (I1).

use uuid::Uuid;

use crate::ids::{BrokerId, Epoch, NodeIncarnation};
use crate::record::{
    Cause, CloseReason, NodeRecord, Placement, SessionEvent, SessionRecord, SessionState, UnixMillis,
};

/// A driver that is lost sooner than this after it had its session may have been ended by what was run again on it.
const EARLY_MILLIS: u64 = 5 * 60 * 1000;
/// Drivers in a row, lost so, after which code is not run again.
const MAX_EARLY_LOSSES: usize = 3;

/// Why a transition is not possible from the state a session is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TransitionError {
    /// Somebody else has moved the session on.
    #[error("the session is in epoch {current}, the change was meant for {meant}")]
    Stale {
        /// The record's epoch.
        current: Epoch,
        /// The epoch the change was decided under.
        meant: Epoch,
    },
    /// The session has ended.
    #[error("the session is closed")]
    Closed,
    /// The session is in another state than the change starts from.
    #[error("the session is not {expected}")]
    State {
        /// The state the change starts from.
        expected: &'static str,
    },
}

/// The driver is ready and the session's state is rebuilt on it: it lives there now.
///
/// # Errors
/// [`TransitionError::Stale`] when another broker has taken the session over meanwhile.
pub fn placed(
    record: SessionRecord,
    epoch: Epoch,
    placement: Placement,
    what: String,
    now: UnixMillis,
) -> Result<SessionRecord, TransitionError> {
    let record = at(record, epoch)?;
    match record.state {
        SessionState::Placing { .. } => Ok(next(
            record,
            epoch,
            SessionState::Active {
                placement,
                since: now,
            },
            what,
            now,
        )),
        SessionState::Active { .. } => Err(TransitionError::State {
            expected: "being placed",
        }),
        SessionState::Closed { .. } => Err(TransitionError::Closed),
    }
}

/// The session leaves its driver, after a loss or on purpose. The next epoch begins.
///
/// # Errors
/// [`TransitionError`]; with `Stale`, it has left already.
pub fn leave(
    record: SessionRecord,
    epoch: Epoch,
    broker: BrokerId,
    cause: Cause,
    now: UnixMillis,
) -> Result<SessionRecord, TransitionError> {
    let mut record = at(record, epoch)?;
    match record.state.clone() {
        SessionState::Active { placement, since } => {
            let lived = now.saturating_sub(since);
            record.early_losses = early_losses(record.early_losses, epoch, lived, cause);
            let what = format!("left {}: {}", placement.node, cause.as_str());
            let state = SessionState::Placing {
                broker,
                from: Some(placement),
                cause: Some(cause),
                since: now,
            };
            Ok(next(record, epoch.next(), state, what, now))
        }
        SessionState::Placing { .. } => Err(TransitionError::State { expected: "active" }),
        SessionState::Closed { .. } => Err(TransitionError::Closed),
    }
}

/// Another broker goes on with a placing that was left half-done. Whatever was started for the epoch before is
/// outdated from now on.
///
/// # Errors
/// [`TransitionError`] when nobody is placing the session.
pub fn take_over(
    record: SessionRecord,
    broker: BrokerId,
    now: UnixMillis,
) -> Result<SessionRecord, TransitionError> {
    match record.state.clone() {
        SessionState::Placing { from, cause, .. } => {
            let epoch = record.epoch.next();
            let what = format!("placing taken over by {broker}");
            let state = SessionState::Placing {
                broker,
                from,
                cause,
                since: now,
            };
            Ok(next(record, epoch, state, what, now))
        }
        SessionState::Active { .. } => Err(TransitionError::State {
            expected: "being placed",
        }),
        SessionState::Closed { .. } => Err(TransitionError::Closed),
    }
}

/// The placing broker gives up. The session belongs to nobody, and the next broker that is asked for it goes on.
///
/// # Errors
/// [`TransitionError`] when the session is not being placed in this epoch.
pub fn let_go(
    record: SessionRecord,
    epoch: Epoch,
    now: UnixMillis,
) -> Result<SessionRecord, TransitionError> {
    let record = at(record, epoch)?;
    match record.state.clone() {
        SessionState::Placing { from, cause, .. } => {
            let state = SessionState::Placing {
                broker: BrokerId::nobody(),
                from,
                cause,
                since: now,
            };
            Ok(next(record, epoch, state, "placing given up".to_owned(), now))
        }
        SessionState::Active { .. } => Err(TransitionError::State {
            expected: "being placed",
        }),
        SessionState::Closed { .. } => Err(TransitionError::Closed),
    }
}

/// The session ends. `reopen` lets its id be opened again, as a new session.
///
/// # Errors
/// [`TransitionError::Closed`] when it has ended before.
pub fn close(
    record: SessionRecord,
    reason: CloseReason,
    reopen: bool,
    now: UnixMillis,
) -> Result<SessionRecord, TransitionError> {
    if matches!(record.state, SessionState::Closed { .. }) {
        return Err(TransitionError::Closed);
    }
    let epoch = record.epoch;
    Ok(next(
        record,
        epoch,
        SessionState::Closed {
            at: now,
            reason,
            reopen,
        },
        "closed".to_owned(),
        now,
    ))
}

/// A new session under an id that was closed with leave to reopen. It goes on with the epochs of the old one, since
/// agents refuse those that are over, and is shown under a new server-side id.
///
/// # Errors
/// [`TransitionError`] when the id is not free.
pub fn reopen(
    record: SessionRecord,
    server_session_id: Uuid,
    broker: BrokerId,
    now: UnixMillis,
) -> Result<SessionRecord, TransitionError> {
    match record.state {
        SessionState::Closed { reopen: true, .. } => {
            let epoch = record.epoch.next();
            let state = SessionState::Placing {
                broker,
                from: None,
                cause: None,
                since: now,
            };
            let record = SessionRecord {
                server_session_id,
                created_at: now,
                early_losses: Vec::new(),
                left_out: 0,
                history: Vec::new(),
                ..record
            };
            Ok(next(record, epoch, state, "opened again".to_owned(), now))
        }
        SessionState::Closed { .. } => Err(TransitionError::Closed),
        SessionState::Active { .. } | SessionState::Placing { .. } => {
            Err(TransitionError::State { expected: "closed" })
        }
    }
}

/// The latest drivers that were lost early in a row, with that of `epoch`, which is lost after `lived` milliseconds.
fn early_losses(mut before: Vec<Epoch>, epoch: Epoch, lived: u64, cause: Cause) -> Vec<Epoch> {
    if lived >= EARLY_MILLIS {
        return Vec::new();
    }
    match cause {
        Cause::DriverLost | Cause::DriverUnhealthy => before.push(epoch),
        // They say nothing of the driver.
        Cause::NodeLost | Cause::Drained | Cause::Rebalanced | Cause::BrokerLost => {}
    }
    let surplus = before.len().saturating_sub(MAX_EARLY_LOSSES);
    before.drain(..surplus);
    before
}

/// True of a session whose drivers are ended by its own code, some time after it was run again: so many were lost early
/// in a row, and after the first of them its client gave them nothing that could be to blame instead. `newest` is the
/// epoch in which code was given last.
///
/// Code is rebuilt without it, or the session would come back and go for ever.
pub fn ends_its_drivers(record: &SessionRecord, newest: Option<Epoch>) -> bool {
    let first = record.early_losses.first();
    let left_alone = first.is_some_and(|first| newest.is_none_or(|newest| newest <= *first));
    record.early_losses.len() >= MAX_EARLY_LOSSES && left_alone
}

/// What has to happen before the next epoch of a session may run anything (I1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fence {
    /// The old place is surely dead: its lease is gone or its agent came back as another incarnation.
    Proven,
    /// The old place's agent must promise that nothing of the old epochs runs. While it does not answer, wait: its
    /// lease ends, and then the fence is proven.
    AskAgent,
}

/// Decides how the epoch before is fenced, from the node's record as the store has it now.
pub fn fence(from: &Placement, node: Option<&NodeRecord>) -> Fence {
    let same = |incarnation: NodeIncarnation| incarnation == from.incarnation;
    match node {
        Some(node) if same(node.incarnation) => Fence::AskAgent,
        Some(_) | None => Fence::Proven,
    }
}

fn at(record: SessionRecord, meant: Epoch) -> Result<SessionRecord, TransitionError> {
    if record.epoch == meant {
        Ok(record)
    } else {
        Err(TransitionError::Stale {
            current: record.epoch,
            meant,
        })
    }
}

fn next(
    mut record: SessionRecord,
    epoch: Epoch,
    state: SessionState,
    what: String,
    now: UnixMillis,
) -> SessionRecord {
    record.epoch = epoch;
    record.state = state;
    record.history.push(SessionEvent { at: now, epoch, what });
    let surplus = record.history.len().saturating_sub(SessionRecord::MAX_HISTORY);
    record.history.drain(..surplus);
    record
}

#[cfg(test)]
mod tests;
