//! Calls of clients that reach no driver, told to the agents that count how quiet a driver is.
//!
//! A session with a limit of its own lives by calls such as GET, which any broker answers from memory. Each broker
//! notes them and tells the agents in bulk, twice a second at most and never the store; the agent is where the leader
//! looks, so no broker ends a session that another one has heard of. What an agent cannot be told now is told later,
//! with its age: an agent that nobody reaches ends nothing.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use berth_core::duties::At;
use berth_core::ids::SessionId;
use berth_proto::agent as api;
use berth_proto::agent::touch_request::Touched;
use futures_util::future::join_all;
use tokio::time::Instant;

use super::{Sessions, lock};

/// How often agents are told.
const EVERY: Duration = Duration::from_millis(500);
/// An agent that does not take it by then is told again later.
const DEADLINE: Duration = Duration::from_secs(1);
/// Sessions whose calls are remembered; with more, the others wait for the next round.
const MAX_NOTED: usize = 100_000;
/// What could not be told for so long is forgotten: no limit is that short and still waits.
const MAX_AGE: Duration = Duration::from_secs(600);

/// A call that is to be told.
#[derive(Debug, Clone, Copy)]
struct Touch {
    at: Instant,
    used: bool,
}

/// Calls that are to be told, the last of each session.
#[derive(Debug, Default)]
pub(super) struct Touches(Mutex<BTreeMap<SessionId, Touch>>);

impl Touches {
    /// Notes a call.
    pub(super) fn note(&self, session: SessionId, used: bool) {
        let at = Instant::now();
        self.add(session, Touch { at, used });
    }

    fn add(&self, session: SessionId, touch: Touch) {
        let mut noted = lock(&self.0);
        if noted.len() >= MAX_NOTED && !noted.contains_key(&session) {
            return;
        }
        let last = noted.entry(session).or_insert(touch);
        last.at = last.at.max(touch.at);
        last.used |= touch.used;
    }

    fn take(&self) -> BTreeMap<SessionId, Touch> {
        std::mem::take(&mut *lock(&self.0))
    }
}

impl Sessions {
    /// Tells agents of calls, for ever.
    pub(crate) async fn tell_touches(&self) {
        let mut rounds = tokio::time::interval(EVERY);
        rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            rounds.tick().await;
            let noted = self.touches.take();
            if !noted.is_empty() {
                self.tell(noted).await;
            }
        }
    }

    async fn tell(&self, noted: BTreeMap<SessionId, Touch>) {
        let mut by_node: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (session, touch) in noted {
            // One that is being placed is quiet from when it is there.
            if let Some(brief) = self.table.brief(session)
                && let At::On { node, .. } = brief.at
            {
                by_node
                    .entry(node)
                    .or_default()
                    .push((session, brief.epoch, touch));
            }
        }
        let nodes = self.fleet.nodes();
        let told = by_node.into_iter().map(|(node, touches)| {
            let address = nodes.iter().find(|known| known.record.id == node);
            let address = address.map(|node| node.record.address.clone());
            async move {
                let touched = touches.iter().map(|(session, epoch, touch)| Touched {
                    session_id: session.to_string(),
                    epoch: epoch.get(),
                    age_ms: u64::try_from(touch.at.elapsed().as_millis()).unwrap_or(u64::MAX),
                    used: touch.used,
                });
                if !self.is_told(address, touched.collect()).await {
                    self.keep(touches.iter().map(|(session, _, touch)| (*session, *touch)));
                }
            }
        });
        join_all(told).await;
    }

    async fn is_told(&self, address: Option<String>, touched: Vec<Touched>) -> bool {
        let Some(address) = address else { return false };
        let mut agent = self.fleet.client(&address);
        let told = agent.touch(api::TouchRequest { touched });
        matches!(tokio::time::timeout(DEADLINE, told).await, Ok(Ok(_)))
    }

    fn keep(&self, touches: impl Iterator<Item = (SessionId, Touch)>) {
        for (session, touch) in touches.filter(|(_, touch)| touch.at.elapsed() < MAX_AGE) {
            self.touches.add(session, touch);
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_last_call_of_a_session_counts_and_use_is_not_forgotten() {
        let touches = Touches::default();
        let session = SessionId::new(Uuid::nil());
        let early = Touch {
            at: Instant::now(),
            used: true,
        };
        tokio::time::advance(Duration::from_secs(1)).await;
        touches.note(session, false);
        // One that could not be told comes back.
        touches.add(session, early);
        let touch = touches.take()[&session];
        assert_eq!((touch.at, touch.used), (Instant::now(), true));
        assert!(touches.take().is_empty());
    }

    #[test]
    fn i8_only_so_many_are_remembered() {
        let touches = Touches::default();
        for n in 0..=MAX_NOTED as u128 {
            touches.note(SessionId::new(Uuid::from_u128(n)), false);
        }
        assert_eq!(touches.take().len(), MAX_NOTED);
    }
}
