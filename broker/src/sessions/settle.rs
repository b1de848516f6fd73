//! Takes a session to its driver, and goes on with whatever nobody else is doing for it.

use std::sync::Arc;
use std::time::Duration;

use berth_core::ids::{BrokerId, Epoch, SessionId};
use berth_core::keys;
use berth_core::record::{Cause, Placement, SessionRecord, SessionState};
use berth_core::session::{leave, placed, take_over};
use berth_proto::agent as api;
use berth_runtime::clock::unix_millis;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::{Read, Sessions, lock, stopping};
use crate::dialects::connect::backend::{Refusal, Route, Wanted};
use crate::dialects::connect::{Probe, probe};
use crate::ledger::unavailable;
use crate::place::Unprepared;

/// How long to wait before reading a record again that another broker is changing.
const PAUSE: Duration = Duration::from_millis(50);
/// An agent, and a driver asked for the cheapest call, answer within this time if they are not busy.
const PROBE_DEADLINE: Duration = Duration::from_secs(5);

/// What is known of an active session's driver.
enum Found {
    Serving(Route),
    Gone(Cause),
    Unclear,
}

impl Sessions {
    /// Follows a session that others have moved, and recovers one that has no driver.
    pub(crate) async fn follow_on(&self, id: SessionId) -> Result<Route, Refusal> {
        self.settle_owned(id, None).await
    }

    /// Takes a session on whose driver of this epoch was found lost. Of many who say so one looks; the others get what
    /// it found. The same epoch comes back when the driver is still there.
    pub(super) async fn left(&self, id: SessionId, epoch: Epoch, cause: Cause) -> Result<Route, Refusal> {
        let me = self.me.upgrade();
        self.owned(async move {
            let me = me.ok_or_else(stopping)?;
            let turn = me.turn(id);
            let _turn = turn.lock().await;
            match me.served(id) {
                Some(served) if served.route.epoch > epoch => return Ok(served.route),
                _ => lock(&me.served).remove(&id),
            };
            me.settle(None, id, Some((epoch, cause))).await
        })
        .await
    }

    /// Moves a session away from a driver that serves, on purpose.
    pub(crate) async fn move_away(
        &self,
        id: SessionId,
        epoch: Epoch,
        cause: Cause,
    ) -> Result<Route, Refusal> {
        self.settle_owned(id, Some((epoch, cause))).await
    }

    async fn settle_owned(&self, id: SessionId, force: Option<(Epoch, Cause)>) -> Result<Route, Refusal> {
        let me = self.me.upgrade();
        self.owned(async move {
            let me = me.ok_or_else(stopping)?;
            let turn = me.turn(id);
            let _turn = turn.lock().await;
            lock(&me.served).remove(&id);
            me.settle(None, id, force).await
        })
        .await
    }

    /// Follows the session to its driver, and goes on with whatever nobody else is doing for it. In the session's turn.
    pub(super) async fn settle(
        &self,
        wanted: Option<&Wanted>,
        id: SessionId,
        force: Option<(Epoch, Cause)>,
    ) -> Result<Route, Refusal> {
        let settled = self.follow(wanted, id, force).await;
        if !matches!(settled, Ok(_) | Err(Refusal::Closed)) {
            self.let_go_later(id);
        }
        settled
    }

    async fn follow(
        &self,
        wanted: Option<&Wanted>,
        id: SessionId,
        force: Option<(Epoch, Cause)>,
    ) -> Result<Route, Refusal> {
        let until = Instant::now() + Duration::from_secs(self.config.hold_seconds);
        let mut force = force;
        // Made before the record is read: who closes the session later than that ends the placing.
        let over = self.placing(id);
        while Instant::now() < until {
            let Some(read) = self.read(id).await? else {
                self.create(may_open(wanted)?).await?;
                continue;
            };
            let step = match read.record.state.clone() {
                SessionState::Active { placement, .. } => {
                    let cause = force.take().filter(|(epoch, _)| *epoch == read.record.epoch);
                    self.locate(&read, &placement, cause.map(|(_, cause)| cause))
                        .await?
                }
                SessionState::Placing { broker, cause, .. } if broker == self.id => {
                    let cause = cause.map_or("new", Cause::as_str);
                    let span =
                        tracing::info_span!("place", session.id = %id, epoch = %read.record.epoch, cause);
                    self.place(&read, until, &over.token).instrument(span).await?
                }
                SessionState::Placing { broker, .. } => {
                    self.wait_or_take_over(&read, &broker).await?;
                    None
                }
                SessionState::Closed { reopen: true, .. } => {
                    self.open_again(&read, may_open(wanted)?).await?;
                    None
                }
                SessionState::Closed { .. } => return Err(Refusal::Closed),
            };
            if let Some(route) = step {
                return Ok(route);
            }
        }
        let reason = format!("the session has had no driver for {} s", self.config.hold_seconds);
        Err(Refusal::NoCapacity {
            reason,
            retry_after: Duration::from_secs(5),
        })
    }

    /// The route of an active session; `None` when its record has been moved on.
    async fn locate(
        &self,
        read: &Read,
        placement: &Placement,
        cause: Option<Cause>,
    ) -> Result<Option<Route>, Refusal> {
        let cause = match cause {
            // Nothing to make sure of: the driver may well be there.
            Some(cause @ (Cause::DriverUnhealthy | Cause::Drained | Cause::Rebalanced)) => cause,
            reported => match self.find(read, placement).await? {
                Found::Serving(route) => return Ok(Some(self.serve(route, read.revision))),
                Found::Gone(found) => reported.unwrap_or(found),
                Found::Unclear => {
                    tokio::time::sleep(PAUSE).await;
                    return Ok(None);
                }
            },
        };
        let record = SessionRecord::clone(&read.record);
        let epoch = record.epoch;
        if let Ok(next) = leave(record, epoch, self.id.clone(), cause, unix_millis())
            && self.advance(read, next).await?.is_some()
        {
            tracing::info!(session.id = %read.record.id, from = %epoch, to = %epoch.next(), reason = cause.as_str(), "session leaves its driver");
        }
        Ok(None)
    }

    /// Asks the agent, then the driver itself. Silence of an agent that holds its lease proves nothing.
    async fn find(&self, read: &Read, placement: &Placement) -> Result<Found, Refusal> {
        let node = self.fleet.node(&placement.node).await.map_err(unavailable)?;
        let Some(node) = node.filter(|node| node.incarnation == placement.incarnation) else {
            return Ok(Found::Gone(Cause::NodeLost));
        };
        let request = api::LocateRequest {
            session_id: read.record.id.to_string(),
            epoch: read.record.epoch.get(),
        };
        let mut agent = self.fleet.client(&node.address);
        let endpoint = match tokio::time::timeout(PROBE_DEADLINE, agent.locate(request)).await {
            Ok(Ok(endpoint)) => endpoint.into_inner(),
            Ok(Err(status)) if status.code() == tonic::Code::NotFound => {
                return Ok(Found::Gone(Cause::DriverLost));
            }
            Ok(Err(_)) | Err(_) => return Ok(Found::Unclear),
        };
        let route = self
            .placer
            .route(&read.record, &node, &endpoint, &placement.server_session_id)?;
        if read.record.owns_driver() {
            // Its state is the process itself, which the agent watches.
            return Ok(Found::Serving(route));
        }
        Ok(match tokio::time::timeout(PROBE_DEADLINE, probe(&route)).await {
            Ok(Probe::Serving(id)) if id == placement.server_session_id => Found::Serving(route),
            Ok(Probe::Serving(_) | Probe::Refused(_)) => Found::Gone(Cause::DriverUnhealthy),
            // The agent tells a driver that is busy from one that is gone or hangs, and ends the latter.
            Ok(Probe::Silent(_)) | Err(_) => Found::Unclear,
        })
    }

    async fn place(
        &self,
        read: &Read,
        until: Instant,
        over: &CancellationToken,
    ) -> Result<Option<Route>, Refusal> {
        let started = Instant::now();
        let record = SessionRecord::clone(&read.record);
        let epoch = record.epoch;
        let prepared = match self.placer.prepare(&read.record, until, over).await {
            Ok(prepared) => prepared,
            Err(Unprepared::Refused(refusal)) => {
                if let Err(error) = self.let_go(read).await {
                    tracing::debug!(session.id = %record.id, %error, "it is let go later");
                }
                count_failed(&read.record);
                return Err(refusal);
            }
            Err(Unprepared::Spent(reason)) => {
                tracing::info!(session.id = %record.id, %epoch, reason, "the next epoch is tried");
                let next = take_over(record, self.id.clone(), unix_millis()).map_err(unavailable)?;
                self.advance(read, next).await?;
                return Ok(None);
            }
        };
        let next = placed(
            record,
            epoch,
            prepared.placement,
            prepared.what.clone(),
            unix_millis(),
        );
        let next = SessionRecord {
            left_out: prepared.left_out,
            ..next.map_err(unavailable)?
        };
        let Some(active) = self.advance(read, next).await? else {
            self.placer.end(&read.record, &prepared.node, false).await;
            return Ok(None);
        };
        self.count_placed(&active.record, &read.record.state, started);
        tracing::info!(session.id = %active.record.id, %epoch, what = prepared.what, "session placed");
        let route = Route {
            record: Arc::clone(&active.record),
            ..prepared.route
        };
        let route = self.serve(route, active.revision);
        if over.is_cancelled() {
            // It was closed in the meantime, perhaps before it was remembered here.
            self.forget(active.record.id);
        }
        Ok(Some(route))
    }

    fn count_placed(&self, record: &SessionRecord, from: &SessionState, started: Instant) {
        let tenant = record.tenant.to_string();
        match from {
            SessionState::Placing {
                cause: Some(cause), ..
            } => {
                metrics::counter!("berth_recoveries_total", "tenant" => tenant, "cause" => cause.as_str(), "outcome" => "ok")
                    .increment(1);
                metrics::histogram!("berth_recovery_seconds", "cause" => cause.as_str())
                    .record(started.elapsed());
            }
            _ => {
                metrics::counter!("berth_session_opens_total", "tenant" => tenant, "dialect" => record.dialect.as_str())
                    .increment(1);
                metrics::histogram!("berth_session_open_seconds").record(started.elapsed());
            }
        }
    }

    async fn wait_or_take_over(&self, read: &Read, broker: &BrokerId) -> Result<(), Refusal> {
        let alive = self
            .store
            .get(&keys::broker(broker))
            .await
            .map_err(unavailable)?
            .is_some();
        if alive {
            tokio::time::sleep(PAUSE).await;
            return Ok(());
        }
        let next = take_over(SessionRecord::clone(&read.record), self.id.clone(), unix_millis());
        self.advance(read, next.map_err(unavailable)?).await.map(drop)
    }
}

/// The session as it may be opened: one whose client has used it already is over, and its state is lost.
fn may_open(wanted: Option<&Wanted>) -> Result<&Wanted, Refusal> {
    wanted.filter(|wanted| !wanted.was_open).ok_or(Refusal::Closed)
}

/// A recovery that came to nothing, for now.
fn count_failed(record: &SessionRecord) {
    if let SessionState::Placing {
        cause: Some(cause), ..
    } = &record.state
    {
        let tenant = record.tenant.to_string();
        metrics::counter!("berth_recoveries_total", "tenant" => tenant, "cause" => cause.as_str(), "outcome" => "refused")
            .increment(1);
    }
}
