//! A broker's work on one session, cut into steps between which anything can happen.

use std::collections::BTreeMap;

use berth_core::admission::{admit, release};
use berth_core::ids::{BrokerId, DriverId, SessionId};
use berth_core::placement::{Decision, NodeView, place};
use berth_core::record::{Cause, CloseReason, Placement, SessionRecord, SessionState};
use berth_core::session::{Fence, close, fence, leave, let_go, placed, take_over};

use crate::agent::Driver;
use crate::world::World;

/// What a session's driver reserves.
pub(crate) const BYTES: u64 = 4;

/// How far a broker is with a session.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// Look at the record.
    Read,
    /// Make sure that the place before is dead.
    Fence(SessionRecord, u64),
    /// Ask a node for a driver.
    Reserve(SessionRecord, u64),
    /// Write the placement down.
    Place(SessionRecord, u64, Placement),
    /// Give a driver back whose placement was not written.
    GiveBack(SessionRecord, Placement),
    /// End the session.
    Close,
}

/// What a broker is doing.
#[derive(Debug, Clone)]
pub(crate) struct Task {
    pub(crate) broker: BrokerId,
    pub(crate) session: SessionId,
    pub(crate) step: Step,
    /// Steps that may still fail before it gives up.
    pub(crate) patience: u32,
}

impl World {
    /// Takes the next step of a task; `None` when it is done.
    pub(crate) fn advance(&mut self, mut task: Task) -> Option<Task> {
        let next = match task.step.clone() {
            Step::Read => self.read(&task),
            Step::Fence(record, revision) => self.fence_before(record, revision),
            Step::Reserve(record, revision) => self.reserve(record, revision, task.broker.clone()),
            Step::Place(record, revision, placement) => self.write_placement(record, revision, placement),
            Step::GiveBack(record, placement) => {
                if let Some(agent) = self.reach(&placement) {
                    agent.fence(record.id, record.epoch.next());
                }
                Next::Done
            }
            Step::Close => self.close(&task),
        };
        match next {
            Next::Done => None,
            Next::Step(step) => Some(Task { step: *step, ..task }),
            Next::Wait if task.patience > 0 => {
                task.patience -= 1;
                Some(task)
            }
            Next::Wait => {
                self.give_up(&task);
                None
            }
        }
    }

    fn read(&mut self, task: &Task) -> Next {
        let Some((record, revision)) = self.store.read(task.session) else {
            return Next::Done;
        };
        let now = self.now;
        match record.state.clone() {
            SessionState::Closed { .. } => Next::Done,
            SessionState::Active { placement, .. } => match self.find(&record, &placement) {
                Found::Serving => Next::Done,
                Found::Unclear => Next::Wait,
                Found::Gone(cause) => {
                    let epoch = record.epoch;
                    self.write(
                        leave(record, epoch, task.broker.clone(), cause, now).ok(),
                        revision,
                    );
                    Next::step(Step::Read)
                }
            },
            SessionState::Placing { broker, .. } if broker == task.broker => {
                Next::step(Step::Fence(record, revision))
            }
            SessionState::Placing { broker, .. } if self.store.brokers.contains_key(&broker) => Next::Wait,
            SessionState::Placing { .. } => {
                self.write(take_over(record, task.broker.clone(), now).ok(), revision);
                Next::step(Step::Read)
            }
        }
    }

    fn find(&mut self, record: &SessionRecord, placement: &Placement) -> Found {
        let there = self.store.node(&placement.node);
        if there.is_none_or(|node| node.incarnation != placement.incarnation) {
            return Found::Gone(Cause::NodeLost);
        }
        match self.reach(placement) {
            None => Found::Unclear,
            Some(agent) => match agent.drivers.get(&record.id) {
                Some(driver) if driver.id == placement.driver => Found::Serving,
                Some(_) | None => Found::Gone(Cause::DriverLost),
            },
        }
    }

    fn fence_before(&mut self, record: SessionRecord, revision: u64) -> Next {
        if let SessionState::Placing { from: Some(from), .. } = &record.state
            && self.fencing
            && fence(from, self.store.node(&from.node)) == Fence::AskAgent
        {
            match self.reach(from) {
                Some(agent) => agent.fence(record.id, record.epoch),
                None => return Next::Wait,
            }
        }
        Next::step(Step::Reserve(record, revision))
    }

    fn reserve(&mut self, record: SessionRecord, revision: u64, broker: BrokerId) -> Next {
        let views = self.agents.iter().filter_map(|agent| {
            self.store.node(&agent.node)?;
            let view = NodeView {
                capacity_bytes: agent.capacity,
                reserved_bytes: agent.drivers.values().map(|driver| driver.bytes).sum(),
                free_slots: 9,
                warm: 0,
                open: true,
            };
            Some((agent.node.clone(), view))
        });
        let views: BTreeMap<_, _> = views.collect();
        let mut random = self.random.clone();
        let Decision::Placed { node, .. } = place(BYTES, &views, || random.next()) else {
            return Next::Wait;
        };
        self.random = random;
        let driver = Driver {
            id: DriverId::new(self.uuid()),
            epoch: record.epoch,
            bytes: BYTES,
        };
        let now = self.now;
        let Some(agent) = self
            .agents
            .iter_mut()
            .find(|agent| agent.node == node && agent.is_reachable())
        else {
            return Next::Wait;
        };
        if !agent.reserve(record.id, driver, now) {
            return Next::Wait;
        }
        let placement = Placement {
            node,
            incarnation: agent.incarnation,
            driver: agent.drivers[&record.id].id,
            server_session_id: String::new(),
            application: None,
        };
        // The answer may get lost. Then something may run for this epoch, and another node is asked for the next one.
        if self.faulty && self.random.one_in(8) {
            let again = if self.spending {
                take_over(record, broker, now).ok()
            } else {
                None
            };
            self.write(again, revision);
            return Next::step(Step::Read);
        }
        Next::step(Step::Place(record, revision, placement))
    }

    fn write_placement(&mut self, record: SessionRecord, revision: u64, placement: Placement) -> Next {
        let (epoch, now) = (record.epoch, self.now);
        let next = placed(record.clone(), epoch, placement.clone(), String::new(), now).ok();
        if self.write(next, revision) {
            self.active.insert((record.id, epoch));
            Next::Done
        } else {
            Next::step(Step::GiveBack(record, placement))
        }
    }

    fn close(&mut self, task: &Task) -> Next {
        let Some((record, revision)) = self.store.read(task.session) else {
            return Next::Done;
        };
        let held = match &record.state {
            SessionState::Active { placement, .. } => Some(placement.clone()),
            SessionState::Placing { .. } | SessionState::Closed { .. } => None,
        };
        let Ok(next) = close(record.clone(), CloseReason::Client, false, self.now) else {
            return Next::Done;
        };
        let usage = self.store.usage.clone();
        let usage = usage.map(|(usage, seen)| (release(&usage, BYTES), seen));
        if self.store.write(next, revision, usage).is_none() {
            return Next::Wait;
        }
        held.map_or(Next::Done, |placement| {
            Next::step(Step::GiveBack(record, placement))
        })
    }

    /// Opens a session if the tenant may have one more.
    pub(crate) fn open(&mut self, record: SessionRecord) -> bool {
        let usage = self.store.usage.clone();
        let seen = usage.as_ref().map_or(0, |(_, seen)| *seen);
        let admitted = admit(usage.as_ref().map(|(usage, _)| usage), self.limits, BYTES);
        admitted.is_ok_and(|next| self.store.write(record, 0, Some((next, seen))).is_some())
    }

    fn write(&mut self, next: Option<SessionRecord>, seen: u64) -> bool {
        next.is_some_and(|next| self.store.write(next, seen, None).is_some())
    }

    /// Leaves a placing to whoever is asked next.
    fn give_up(&mut self, task: &Task) {
        let Some((record, revision)) = self.store.read(task.session) else {
            return;
        };
        if matches!(&record.state, SessionState::Placing { broker, .. } if *broker == task.broker) {
            let epoch = record.epoch;
            self.write(let_go(record, epoch, self.now).ok(), revision);
        }
    }
}

enum Next {
    Done,
    Step(Box<Step>),
    Wait,
}

impl Next {
    fn step(step: Step) -> Self {
        Self::Step(Box::new(step))
    }
}

enum Found {
    Serving,
    Gone(Cause),
    Unclear,
}
