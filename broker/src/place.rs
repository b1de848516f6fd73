//! Brings a session to a driver: fence the old place, choose a node, reserve, rebuild.
//!
//! A Connect session is rebuilt from its recorded requests ([`connect`]), a code session from its statements
//! ([`code`]).

mod agents;
mod choose;
mod code;
pub(crate) mod connect;
mod poison;
pub(crate) mod upload;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use berth_core::ids::{DriverId, NodeId};
use berth_core::record::{Application, Dialect, NodeRecord, Placement, SessionRecord, SessionState, Work};
use berth_proto::agent as api;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::dialects::connect::backend::{Refusal, Route};
use crate::dialects::livy::recovery::LOST;
use crate::dialects::livy::replay::Policy;
use crate::fleet::Fleet;
use crate::ledger::{Ledger, unavailable};
pub(crate) use choose::offered;
use choose::{Choice, has_own_start};
use poison::Poison;

/// How long to wait before looking for room, or for the end of a lease, again.
const PAUSE: Duration = Duration::from_millis(250);
/// A client that finds no room should ask again after this time.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// A session whose own confs and files its driver starts with is given up when it has not come up so often.
const MAX_FAILED_STARTS: u32 = 2;

/// A driver that is ready for a session, with what was rebuilt on it.
pub(crate) struct Prepared {
    pub(crate) node: NodeRecord,
    pub(crate) placement: Placement,
    pub(crate) route: Route,
    pub(crate) what: String,
    /// Up to where its code is not run again from now on.
    pub(crate) left_out: u64,
}

/// Why one try did not end with a prepared driver.
enum Miss {
    /// Another try may do; the node should not be tried again at once.
    Again(String),
    /// The driver did not come up. Another try may do, on another node too.
    Failed(String),
    /// The epoch was used on a node, and is over there now. Another try needs the next one.
    Spent(String),
    /// No try will do.
    Never(Refusal),
}

/// Why no driver is prepared.
pub(crate) enum Unprepared {
    /// The client is told so.
    Refused(Refusal),
    /// Something may have run for this epoch; the next one can be tried.
    Spent(String),
}

/// Places sessions.
#[derive(Debug)]
pub(crate) struct Placer {
    fleet: Arc<Fleet>,
    ledger: Arc<Ledger>,
    poison: Poison,
}

/// What a rebuild made, for the session's history.
struct Made {
    server_session_id: String,
    replayed: u64,
    lost: Vec<String>,
    /// Up to where its code is not run again.
    left_out: u64,
}

impl Made {
    /// Of a batch, which does what it does from its beginning; and of what is still to be made.
    const fn nothing() -> Self {
        Self {
            server_session_id: String::new(),
            replayed: 0,
            lost: Vec::new(),
            left_out: 0,
        }
    }
}

impl Placer {
    /// A placer on the nodes of `fleet`.
    pub(crate) fn new(fleet: Arc<Fleet>, ledger: Arc<Ledger>) -> Self {
        Self {
            fleet,
            ledger,
            poison: Poison::default(),
        }
    }

    /// Prepares a driver for the record's epoch, which this broker is placing. With `over` it is given up at once, and
    /// what was started ends.
    pub(crate) async fn prepare(
        &self,
        record: &Arc<SessionRecord>,
        until: Instant,
        over: &CancellationToken,
    ) -> Result<Prepared, Unprepared> {
        if let SessionState::Placing { from: Some(from), .. } = &record.state {
            self.fence(record, from, until)
                .await
                .map_err(Unprepared::Refused)?;
        }
        check_policy(record)?;
        let (mut tried, mut failed) = (BTreeSet::new(), 0);
        loop {
            let (node, missed) = match self.attempt(record, &tried, over).await {
                Ok(prepared) => return Ok(prepared),
                Err((_, Miss::Never(refusal))) => return Err(Unprepared::Refused(refusal)),
                Err((_, Miss::Spent(reason))) => return Err(Unprepared::Spent(reason)),
                Err((_, Miss::Failed(reason)))
                    if failed + 1 >= MAX_FAILED_STARTS && has_own_start(record) =>
                {
                    return Err(Unprepared::Refused(Refusal::Denied { reason }));
                }
                Err((node, Miss::Failed(reason))) => {
                    failed += 1;
                    (node, reason)
                }
                Err((node, Miss::Again(reason))) => (node, reason),
            };
            tracing::info!(session.id = %record.id, epoch = %record.epoch, reason = missed, "no driver yet");
            match node {
                Some(node) => drop(tried.insert(node)),
                // None is left that was not tried: they may have room by now.
                None => tried.clear(),
            }
            if over.is_cancelled() {
                return Err(Unprepared::Refused(Refusal::Closed));
            }
            if Instant::now() + PAUSE > until {
                return Err(Unprepared::Refused(Refusal::NoCapacity {
                    reason: missed,
                    retry_after: RETRY_AFTER,
                }));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn attempt(
        &self,
        record: &Arc<SessionRecord>,
        tried: &BTreeSet<NodeId>,
        over: &CancellationToken,
    ) -> Result<Prepared, (Option<NodeId>, Miss)> {
        let choice = self.choose(record, tried).map_err(|miss| (None, miss))?;
        let (node, id) = (choice.node.clone(), choice.node.id.clone());
        // On the heap: the futures of all who wait for a placing hold it.
        let prepared = Box::pin(async {
            let reserving = tracing::info_span!("reserve", node.id = %id);
            let endpoint = self.reserve(record, &choice).instrument(reserving).await?;
            self.rebuild(record, &choice, &endpoint)
                .instrument(tracing::info_span!("rebuild", driver.id = endpoint.driver_id))
                .await
                .map_err(|miss| match miss {
                    Miss::Again(reason) => Miss::Spent(reason),
                    Miss::Failed(_) | Miss::Spent(_) | Miss::Never(_) => miss,
                })
        });
        let missed = match over.run_until_cancelled(prepared).await {
            Some(Ok(prepared)) => return Ok(prepared),
            Some(Err(missed)) => missed,
            None => Miss::Never(Refusal::Closed),
        };
        if !matches!(missed, Miss::Again(_) | Miss::Failed(_)) {
            self.end(record, &node, false).await;
        }
        Err((Some(id), missed))
    }

    async fn rebuild(
        &self,
        record: &Arc<SessionRecord>,
        choice: &Choice,
        endpoint: &api::Endpoint,
    ) -> Result<Prepared, Miss> {
        let node = &choice.node;
        let mut route = self.route(record, node, endpoint, "").map_err(Miss::Never)?;
        let made = match record.dialect {
            _ if record.work == Work::Batch => Made::nothing(),
            Dialect::Livy => self.rebuild_code(&route).await?,
            Dialect::Connect | Dialect::Kyuubi | Dialect::Hs2 | Dialect::Native => {
                self.rebuild_connect(&route, choice).await?
            }
        };
        route.upstream_server_session_id = made.server_session_id.as_str().into();
        let driver = endpoint.driver_id.parse();
        let placement = Placement {
            node: node.id.clone(),
            incarnation: node.incarnation,
            driver: driver.map_err(|error| Miss::Never(unavailable(error)))?,
            server_session_id: made.server_session_id.clone(),
            application: application(endpoint),
        };
        Ok(Prepared {
            node: node.clone(),
            placement,
            route,
            what: describe(choice, &made),
            left_out: made.left_out,
        })
    }

    /// Where a session is, from its agent's answer.
    pub(crate) fn route(
        &self,
        record: &Arc<SessionRecord>,
        node: &NodeRecord,
        endpoint: &api::Endpoint,
        server_session_id: &str,
    ) -> Result<Route, Refusal> {
        let driver: DriverId = endpoint.driver_id.parse().map_err(unavailable)?;
        Ok(Route {
            record: Arc::clone(record),
            epoch: record.epoch,
            upstream: self
                .fleet
                .dialer()
                .driver(&node.address, driver, &endpoint.connect_token),
            upstream_session_id: record.id.upstream(record.epoch),
            upstream_server_session_id: server_session_id.into(),
            agent: node.address.as_str().into(),
            over: self.fleet.presence(node),
        })
    }
}

/// The driver as an application. The place of a batch is none, and an older agent does not tell.
fn application(endpoint: &api::Endpoint) -> Option<Application> {
    let told = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Some(Application {
        id: told(&endpoint.application_id)?,
        ui_url: told(&endpoint.ui_url),
    })
}

/// A session may want no other driver than its first.
fn check_policy(record: &SessionRecord) -> Result<(), Unprepared> {
    match &record.state {
        SessionState::Placing {
            cause: Some(cause), ..
        } if Policy::of(&record.confs) == Policy::None => {
            let reason = format!(
                "its driver is gone ({}), and berth.recovery = none asks for no other",
                cause.as_str()
            );
            Err(Unprepared::Refused(Refusal::Denied { reason }))
        }
        SessionState::Placing { .. } | SessionState::Active { .. } | SessionState::Closed { .. } => Ok(()),
    }
}

fn describe(choice: &Choice, made: &Made) -> String {
    let (node, reason) = (&choice.node.id, choice.reason);
    let mut what = format!("placed on {node}: {reason}; {} changes replayed", made.replayed);
    for lost in &made.lost {
        what.push_str(LOST);
        what.push_str(lost);
    }
    what.chars().take(2000).collect()
}
