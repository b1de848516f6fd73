//! A backend in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use berth_core::ids::{Epoch, SessionId};
use berth_core::lineage::Witness;
use berth_core::record::{Application, UnixMillis};
use berth_proto::agent::Statement as Reported;
use berth_proto::agent::statement::State as Reporting;
use bytes::Bytes;
use tokio::sync::Notify;
use uuid::Uuid;

use crate::dialects::livy::backend::{Backend, DriverFault, Given, Numbered, Open, Phase, Queue, Seat};
use crate::dialects::livy::kind::Kind;
use crate::dialects::livy::listed::Listed;
use crate::dialects::livy::recovery::Happened;
use crate::dialects::livy::refusal::Refusal;
use crate::dialects::livy::retention::Page;
use crate::dialects::livy::statement::{End, Intent, Statement};
use crate::dialects::livy::task::Task;

/// What an agent takes of one session, as `agent/src/statements.rs` has it.
const MAX_UNFINISHED: usize = 32;

#[derive(Debug, Default)]
struct State {
    epochs: BTreeMap<SessionId, Epoch>,
    statements: Vec<Statement>,
    kept: Vec<Bytes>,
    running: BTreeMap<u64, Reported>,
    result: Option<String>,
    starts: u32,
    /// Statements in the order in which they reached a driver.
    order: Vec<u64>,
    /// True while no session gets a driver.
    held: bool,
    operations: BTreeMap<Uuid, u64>,
    touches: Vec<(SessionId, bool)>,
    dead: bool,
    /// True while a session that has lost its driver gets no other one.
    no_room: bool,
    /// Starts that do not reach the driver.
    refuse_starts: u32,
    /// True while no end can be written down.
    no_ends: bool,
    /// Statements that a driver had and had not begun when it was lost.
    not_begun: BTreeSet<(Epoch, u64)>,
    /// Statements that ran, or are to run, a second time.
    rerun: BTreeSet<u64>,
}

/// Sessions whose driver does what the test says.
#[derive(Debug, Default)]
pub(super) struct FakeBackend {
    state: Mutex<State>,
    changed: Notify,
}

impl FakeBackend {
    /// Ends every statement with this text, those that come later too.
    pub(super) fn end_all(&self, text: &str) {
        self.state.lock().unwrap().result = Some(format!("{{\"text/plain\":\"{text}\"}}"));
        self.changed.notify_waiters();
    }

    /// Lets no end be written down, or lets them again.
    pub(super) fn keep_no_ends(&self, no_ends: bool) {
        self.state.lock().unwrap().no_ends = no_ends;
    }

    /// Lets no session get a driver, or lets them again.
    pub(super) fn hold(&self, held: bool) {
        self.state.lock().unwrap().held = held;
        self.changed.notify_waiters();
    }

    /// Statements in the order in which they reached a driver.
    pub(super) fn order(&self) -> Vec<u64> {
        self.state.lock().unwrap().order.clone()
    }

    /// Loses the driver.
    pub(super) fn kill_driver(&self) {
        self.state.lock().unwrap().dead = true;
        self.changed.notify_waiters();
    }

    /// Lets no session that has lost its driver get another one, or lets them again.
    pub(super) fn fill(&self, full: bool) {
        self.state.lock().unwrap().no_room = full;
    }

    /// Loses the driver before the next statement reaches it.
    pub(super) fn refuse_next_start(&self) {
        self.state.lock().unwrap().refuse_starts = 1;
    }

    /// Loses the driver before it began anything, and the next ones before the first `starts` reach them.
    pub(super) fn lose_before_anything_began(&self, starts: u32) {
        let mut state = self.state.lock().unwrap();
        state.refuse_starts = starts;
        let epoch = state.epochs.values().copied().max().unwrap_or(Epoch::INITIAL);
        let lost = std::mem::take(&mut state.running).into_keys();
        state.not_begun = lost.map(|id| (epoch, id)).collect();
        state.order.clear();
        drop(state);
        self.changed.notify_waiters();
    }

    /// How many statements reached a driver.
    pub(super) fn starts(&self) -> u32 {
        self.state.lock().unwrap().starts
    }

    /// Waits until so many statements reached a driver.
    pub(super) async fn wait_for_starts(&self, starts: u32) {
        let started = async {
            loop {
                let changed = self.changed.notified();
                if self.starts() >= starts {
                    return;
                }
                changed.await;
            }
        };
        let most = Duration::from_secs(60);
        tokio::time::timeout(most, started).await.unwrap();
    }

    /// Takes what counted as a call, and whether as use.
    pub(super) fn touches(&self) -> Vec<bool> {
        let touches = std::mem::take(&mut self.state.lock().unwrap().touches);
        touches.into_iter().map(|(_, used)| used).collect()
    }

    /// The resources that the sessions were given, as their drivers read them.
    pub(super) fn resources(&self) -> Vec<String> {
        self.of(Task::Add)
            .into_iter()
            .map(|added| added.intent.code)
            .collect()
    }

    /// The pieces of files that were kept.
    pub(super) fn kept(&self) -> Vec<Bytes> {
        self.state.lock().unwrap().kept.clone()
    }

    fn of(&self, task: Task) -> Vec<Statement> {
        let state = self.state.lock().unwrap();
        let own = state
            .statements
            .iter()
            .filter(|statement| statement.intent.task == task);
        own.cloned().collect()
    }

    fn append(&self, operation: Uuid, epoch: Epoch, intent: &Intent, waits: bool) -> Option<Numbered> {
        if self.state.lock().unwrap().operations.contains_key(&operation) {
            return None;
        }
        let number = intent.task.first() + self.of(intent.task).len() as u64;
        let mut state = self.state.lock().unwrap();
        let id = state.statements.len() as u64;
        state.statements.push(Statement {
            id,
            number,
            epoch,
            intent: intent.clone(),
            waits,
            end: None,
        });
        state.operations.insert(operation, id);
        Some(Numbered { id, number })
    }

    fn look(&self, seat: Seat, id: u64) -> Result<Reported, DriverFault> {
        let state = self.state.lock().unwrap();
        if state.dead {
            return Err(DriverFault::Lost);
        }
        if state.not_begun.contains(&(seat.epoch, id)) {
            return Err(DriverFault::NeverBegan);
        }
        if state.epochs.get(&seat.session) != Some(&seat.epoch) {
            return Err(DriverFault::Lost);
        }
        let running = state.running.get(&id).cloned().ok_or(DriverFault::NoStatement)?;
        Ok(match &state.result {
            None => running,
            Some(output_json) => Reported {
                state: Reporting::Ok.into(),
                output_json: output_json.clone(),
                ..running
            },
        })
    }
}

fn is_given(statement: &Statement) -> bool {
    statement.end.is_none() && !statement.waits && statement.intent.task != Task::Add
}

#[async_trait]
impl Backend for FakeBackend {
    fn check(&self, _listed: &Listed) -> Result<(), Refusal> {
        Ok(())
    }

    async fn seat(&self, listed: &Listed) -> Result<Seat, Refusal> {
        loop {
            let changed = self.changed.notified();
            if !self.state.lock().unwrap().held {
                break;
            }
            changed.await;
        }
        let mut state = self.state.lock().unwrap();
        let epoch = *state.epochs.entry(listed.session).or_insert(Epoch::INITIAL);
        Ok(Seat {
            session: listed.session,
            epoch,
        })
    }

    fn touch(&self, session: SessionId, used: bool) {
        self.state.lock().unwrap().touches.push((session, used));
    }

    async fn phase(&self, session: SessionId) -> Result<Phase, Refusal> {
        let known = self.state.lock().unwrap().epochs.contains_key(&session);
        Ok(if known { Phase::Active } else { Phase::Absent })
    }

    async fn application(&self, _session: SessionId) -> Result<Option<Application>, Refusal> {
        Ok(Some(Application {
            id: "local-1".to_owned(),
            ui_url: None,
        }))
    }

    async fn placed_at(&self, _session: SessionId) -> Result<Option<UnixMillis>, Refusal> {
        Ok(Some(0))
    }

    async fn lost(&self, seat: Seat) -> Result<Seat, Refusal> {
        let mut state = self.state.lock().unwrap();
        if state.no_room {
            return Err(Refusal::Unavailable("no room".to_owned()));
        }
        // Somebody else has seen to it.
        if let Some(epoch) = state
            .epochs
            .get(&seat.session)
            .copied()
            .filter(|epoch| *epoch > seat.epoch)
        {
            return Ok(Seat { epoch, ..seat });
        }
        state.dead = false;
        state.running.clear();
        let epoch = seat.epoch.next();
        state.epochs.insert(seat.session, epoch);
        Ok(Seat { epoch, ..seat })
    }

    async fn close(&self, session: SessionId) -> Result<(), Refusal> {
        self.state.lock().unwrap().epochs.remove(&session);
        Ok(())
    }

    async fn begin(&self, seat: Seat, operation: Uuid, intent: &Intent) -> Result<Option<Numbered>, Refusal> {
        Ok(self.append(operation, seat.epoch, intent, false))
    }

    async fn recall(&self, _session: SessionId, operation: Uuid) -> Result<Option<Statement>, Refusal> {
        let id = self.state.lock().unwrap().operations.get(&operation).copied();
        let state = self.state.lock().unwrap();
        Ok(id.and_then(|id| state.statements.get(usize::try_from(id).unwrap()).cloned()))
    }

    async fn has_had(&self, _session: SessionId, number: u64) -> Result<bool, Refusal> {
        Ok(self.of(Task::Statement).len() as u64 > number)
    }

    async fn history(&self, session: SessionId) -> Result<Vec<Happened>, Refusal> {
        let known = self.state.lock().unwrap().epochs.get(&session).copied();
        let happened = known.map(|epoch| Happened {
            at: 1,
            epoch: epoch.get(),
            what: "placed on a: warm; 1 changes replayed; lost: statement 0: not run again".to_owned(),
        });
        Ok(happened.into_iter().collect())
    }

    async fn enlist(
        &self,
        session: SessionId,
        operation: Uuid,
        intent: &Intent,
    ) -> Result<Option<(Numbered, Epoch)>, Refusal> {
        let epoch = self.state.lock().unwrap().epochs[&session];
        let enlisted = self.append(operation, epoch, intent, true);
        Ok(enlisted.map(|numbered| (numbered, epoch)))
    }

    async fn queue(&self, _session: SessionId, most: usize) -> Result<Queue, Refusal> {
        let state = self.state.lock().unwrap();
        let given: Vec<_> = state
            .statements
            .iter()
            .filter(|statement| is_given(statement))
            .map(|given| Given {
                id: given.id,
                epoch: given.epoch,
            })
            .collect();
        let waits: Vec<_> = state
            .statements
            .iter()
            .filter(|statement| statement.waits)
            .collect();
        let next = waits.iter().take(most.saturating_sub(given.len()));
        Ok(Queue {
            next: next.map(|waits| (*waits).clone()).collect(),
            waits: waits.len(),
            given,
        })
    }

    async fn claim(&self, seat: Seat, id: u64) -> Result<bool, Refusal> {
        let mut state = self.state.lock().unwrap();
        let statement = &mut state.statements[usize::try_from(id).unwrap()];
        statement.epoch = seat.epoch;
        Ok(std::mem::take(&mut statement.waits))
    }

    async fn withdraw(&self, _session: SessionId, id: u64, end: &End) -> Result<bool, Refusal> {
        let mut state = self.state.lock().unwrap();
        let statement = &mut state.statements[usize::try_from(id).unwrap()];
        let waited = std::mem::take(&mut statement.waits);
        if waited {
            statement.end = Some(end.clone());
        }
        Ok(waited)
    }

    async fn keep(&self, piece: Bytes) -> Result<String, Refusal> {
        let mut state = self.state.lock().unwrap();
        state.kept.push(piece);
        Ok(format!("piece-{}", state.kept.len()))
    }

    async fn finish(&self, _session: SessionId, id: u64, end: &End) -> Result<(), Refusal> {
        let mut state = self.state.lock().unwrap();
        if state.no_ends {
            return Err(Refusal::Unavailable("the store is full".to_owned()));
        }
        let statement = state
            .statements
            .iter_mut()
            .find(|statement| statement.id == id)
            .unwrap();
        statement.end.get_or_insert_with(|| end.clone());
        Ok(())
    }

    async fn give_up(
        &self,
        _session: SessionId,
        (id, epoch): (u64, Epoch),
        end: &End,
    ) -> Result<bool, Refusal> {
        let mut state = self.state.lock().unwrap();
        let mut statements = state.statements.iter_mut();
        let found = statements.find(|statement| statement.id == id && statement.epoch == epoch);
        let open = found.filter(|statement| statement.end.is_none() && !statement.waits);
        Ok(open.is_some_and(|statement| statement.end.replace(end.clone()).is_none()))
    }

    async fn put_back(
        &self,
        _session: SessionId,
        (id, from): (u64, Epoch),
        _witness: Witness,
    ) -> Result<bool, Refusal> {
        let mut state = self.state.lock().unwrap();
        let statement = &mut state.statements[usize::try_from(id).unwrap()];
        let put_back = is_given(statement) && statement.epoch == from;
        statement.waits |= put_back;
        Ok(put_back)
    }

    async fn run_again(&self, session: SessionId, of: (u64, Epoch)) -> Result<bool, Refusal> {
        if !self.state.lock().unwrap().rerun.insert(of.0) {
            return Ok(false);
        }
        self.put_back(session, of, Witness::Agent).await
    }

    async fn hand_on(&self, seat: Seat, id: u64) -> Result<bool, Refusal> {
        let state = self.state.lock().unwrap();
        let statement = &state.statements[usize::try_from(id).unwrap()];
        Ok(is_given(statement) && statement.epoch == seat.epoch)
    }

    async fn unfinished(&self, session: SessionId) -> Result<Open, Refusal> {
        let queue = self.queue(session, 0).await?;
        Ok(Open {
            given: queue.given.len(),
            waits: queue.waits,
        })
    }

    async fn at(&self, _session: SessionId, id: u64) -> Result<Option<Statement>, Refusal> {
        let state = self.state.lock().unwrap();
        Ok(state.statements.get(usize::try_from(id).unwrap()).cloned())
    }

    async fn statement(&self, _session: SessionId, number: u64) -> Result<Option<Statement>, Refusal> {
        let mut own = self.of(Task::Statement).into_iter();
        Ok(own.find(|statement| statement.number == number))
    }

    async fn job(&self, _session: SessionId, number: u64) -> Result<Option<Statement>, Refusal> {
        Ok(self.of(Task::Job).into_iter().find(|job| job.number == number))
    }

    async fn statements(&self, _session: SessionId, page: Page) -> Result<(usize, Vec<Statement>), Refusal> {
        let all = self.of(Task::Statement).into_iter();
        Ok(page.of(all.map(|statement| (statement.number, statement)).collect()))
    }

    async fn open_statements(&self, _session: SessionId) -> Result<Vec<Statement>, Refusal> {
        let mut open = self.of(Task::Statement);
        open.retain(|statement| statement.end.is_none());
        Ok(open)
    }

    async fn start(&self, seat: Seat, id: u64, _intent: &Intent) -> Result<Reported, DriverFault> {
        let mut state = self.state.lock().unwrap();
        if state.epochs.get(&seat.session) != Some(&seat.epoch) {
            return Err(DriverFault::NotSent);
        }
        if state.refuse_starts > 0 {
            state.refuse_starts -= 1;
            return Err(DriverFault::NeverBegan);
        }
        if state.result.is_none() && state.running.len() >= MAX_UNFINISHED {
            return Err(DriverFault::Refused("too many".to_owned()));
        }
        state.starts += 1;
        state.order.push(id);
        let reported = Reported {
            state: Reporting::Running.into(),
            ..Reported::default()
        };
        state.running.insert(id, reported.clone());
        self.changed.notify_waiters();
        Ok(reported)
    }

    async fn get(&self, seat: Seat, id: u64, wait: Duration) -> Result<Reported, DriverFault> {
        let changed = self.changed.notified();
        let reported = self.look(seat, id)?;
        if wait.is_zero() || End::of(&reported).is_some() {
            return Ok(reported);
        }
        tokio::time::timeout(wait, changed).await.ok();
        self.look(seat, id)
    }

    async fn cancel(&self, _seat: Seat, _id: u64) -> Result<(), DriverFault> {
        Ok(())
    }

    async fn complete(&self, _: Seat, _: Kind, _: &str, _: u32) -> Result<Vec<String>, DriverFault> {
        Ok(Vec::new())
    }

    async fn log(&self, _session: SessionId) -> Result<Vec<String>, Refusal> {
        Ok(vec!["a line".to_owned()])
    }
}
