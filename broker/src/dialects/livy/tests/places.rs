//! Places of batches, whose nodes do what the test says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use berth_core::ids::{Epoch, SessionId};
use berth_proto::agent::Statement as Reported;
use berth_proto::agent::statement::State as Reporting;
use bytes::Bytes;
use serde_json::json;
use tokio::sync::Notify;

use crate::dialects::livy::batches::Uploads;
use crate::dialects::livy::batches::backend::{Fault, Place, Places, Whereabouts};
use crate::dialects::livy::batches::lines::Lines;
use crate::dialects::livy::listed::Listed;
use crate::dialects::livy::refusal::Refusal;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Placing,
    On,
    Closed,
}

/// How a place is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loss {
    /// With its node: only the store tells.
    Node,
    /// Its node tells.
    Driver,
    /// Before the node had allowed the application to begin.
    BeforeItBegan,
}

#[derive(Debug, Default)]
struct State {
    sessions: BTreeMap<SessionId, (Epoch, At)>,
    lost: BTreeMap<(SessionId, Epoch), Loss>,
    running: BTreeSet<(SessionId, Epoch)>,
    /// What was submitted, in order; not what was given to a place that had it.
    starts: Vec<String>,
    result: Option<Reported>,
    full: bool,
    cancelled: bool,
}

/// The places.
#[derive(Debug, Default)]
pub(super) struct FakePlaces {
    state: Mutex<State>,
    changed: Notify,
}

impl FakePlaces {
    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap());
        self.changed.notify_waiters();
    }

    /// Ends every application so, those that come later too.
    pub(super) fn end_all(&self, state: Reporting, error: (&str, &str), log: &[&str]) {
        let result = Reported {
            state: state.into(),
            error_name: error.0.to_owned(),
            error_value: error.1.to_owned(),
            output_json: json!({ "log": log }).to_string(),
            ..Reported::default()
        };
        self.change(|state| state.result = Some(result));
    }

    /// Loses every place that there is.
    pub(super) fn lose(&self, loss: Loss) {
        self.change(|state| {
            let there: Vec<_> = state
                .sessions
                .iter()
                .map(|(session, (epoch, _))| (*session, *epoch))
                .collect();
            for place in there {
                state.running.remove(&place);
                state.lost.insert(place, loss);
            }
        });
    }

    /// From now on the tenant is at its limit.
    pub(super) fn fill(&self) {
        self.change(|state| state.full = true);
    }

    pub(super) fn starts(&self) -> Vec<String> {
        self.state.lock().unwrap().starts.clone()
    }

    pub(super) fn was_cancelled(&self) -> bool {
        self.state.lock().unwrap().cancelled
    }

    /// True when no place is held.
    pub(super) fn are_free(&self) -> bool {
        let state = self.state.lock().unwrap();
        state.sessions.values().all(|(_, at)| *at == At::Closed)
    }

    fn report(&self, place: &Place) -> Result<Reported, Fault> {
        let state = self.state.lock().unwrap();
        let key = (place.session, place.epoch);
        match state.lost.get(&key) {
            Some(Loss::Node) => return Err(Fault::Away("gone".to_owned())),
            Some(Loss::Driver) => return Err(Fault::Lost),
            Some(Loss::BeforeItBegan) => return Err(Fault::NeverBegan),
            None => {}
        }
        if !state.running.contains(&key) {
            return Err(Fault::Unknown);
        }
        Ok(state.result.clone().unwrap_or(Reported {
            state: Reporting::Running.into(),
            ..Reported::default()
        }))
    }
}

fn is_running(report: &Result<Reported, Fault>) -> bool {
    report
        .as_ref()
        .is_ok_and(|report| report.state() == Reporting::Running)
}

#[async_trait]
impl Places for FakePlaces {
    fn check(&self, _listed: &Listed) -> Result<(), Refusal> {
        Ok(())
    }

    async fn open(&self, listed: &Listed) -> Result<(), Refusal> {
        let mut state = self.state.lock().unwrap();
        if state.full {
            return Err(Refusal::Rejected("the tenant is at its limit".to_owned()));
        }
        state
            .sessions
            .entry(listed.session)
            .or_insert((Epoch::INITIAL, At::Placing));
        Ok(())
    }

    async fn look(&self, session: SessionId) -> Result<Whereabouts, Refusal> {
        let state = self.state.lock().unwrap();
        Ok(match state.sessions.get(&session) {
            None => Whereabouts::Absent,
            Some((epoch, At::Placing)) => Whereabouts::Placing(*epoch),
            Some((_, At::Closed)) => Whereabouts::Closed,
            Some((epoch, At::On)) => match state.lost.get(&(session, *epoch)) {
                Some(Loss::Node) => Whereabouts::Lost(*epoch),
                _ => Whereabouts::On(Place {
                    session,
                    epoch: *epoch,
                    agent: "node".into(),
                    driver: "driver".to_owned(),
                }),
            },
        })
    }

    async fn place(&self, session: SessionId) -> Result<(), Refusal> {
        let mut state = self.state.lock().unwrap();
        let State { sessions, lost, .. } = &mut *state;
        match sessions.get_mut(&session) {
            None | Some((_, At::Closed)) => return Err(Refusal::NotReady("dead")),
            Some((epoch, at)) => {
                if lost.contains_key(&(session, *epoch)) {
                    *epoch = epoch.next();
                }
                *at = At::On;
            }
        }
        Ok(())
    }

    async fn start(&self, place: &Place, what: &str, _uploads: &Uploads) -> Result<(), Fault> {
        let mut state = self.state.lock().unwrap();
        let key = (place.session, place.epoch);
        if state.lost.contains_key(&key) {
            return Err(Fault::Unknown);
        }
        if state.running.insert(key) {
            state.starts.push(what.to_owned());
        }
        Ok(())
    }

    async fn get(&self, place: &Place, wait: Duration) -> Result<Reported, Fault> {
        let changed = self.changed.notified();
        let report = self.report(place);
        if wait.is_zero() || !is_running(&report) {
            return report;
        }
        tokio::time::timeout(wait, changed).await.ok();
        self.report(place)
    }

    async fn cancel(&self, _place: &Place) -> Result<(), Fault> {
        self.change(|state| state.cancelled = true);
        self.end_all(Reporting::Cancelled, ("", ""), &[]);
        Ok(())
    }

    async fn close(&self, session: SessionId) -> Result<(), Refusal> {
        self.change(|state| {
            if let Some((_, at)) = state.sessions.get_mut(&session) {
                *at = At::Closed;
            }
        });
        Ok(())
    }

    async fn log(&self, _session: SessionId) -> Result<Vec<String>, Refusal> {
        Ok(vec!["running".to_owned()])
    }

    async fn lines(&self, _session: SessionId, mut wanted: Lines) -> Result<Lines, Refusal> {
        wanted.feed(b"running\n");
        Ok(wanted)
    }

    async fn keep(&self, _piece: Bytes) -> Result<String, Refusal> {
        Ok("00".to_owned())
    }

    async fn kept(&self, _name: &str) -> Result<Bytes, Refusal> {
        Ok(Bytes::new())
    }
}
