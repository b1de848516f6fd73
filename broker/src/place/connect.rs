//! Rebuilds a Connect session from its recorded requests.

use std::time::Duration;

use berth_core::lineage::replay::{self, Step as Replay};
use berth_core::lineage::views::TempView;
use berth_core::lineage::{Class, LineageEntry, Outcome};
use berth_core::wire;
use berth_proto::agent as api;
use bytes::Bytes;
use tonic::Code;

use super::choose::Choice;
use super::poison::MAX_KILLS;
use super::{Made, Miss, PAUSE, Placer};
use crate::dialects::connect::backend::{Ended, Refusal, Route, Ticket};
use crate::dialects::connect::{RebuildError, Rebuilt, Step, kills_driver, named, rebuild};

/// An agent says within this time that a driver of its node has ended.
const TOLD_WITHIN: Duration = Duration::from_secs(5);

impl Placer {
    pub(super) async fn rebuild_connect(&self, route: &Route, choice: &Choice) -> Result<Made, Miss> {
        let entries = self.ledger.entries(route.record.id).await.map_err(Miss::Never)?;
        let steps = self.steps(&entries).await.map_err(Miss::Never)?;
        let session = route.record.id;
        let is_poison = |step: &Step| self.poison.is_poison(session, step.entry.seq);
        let (poison, steps): (Vec<_>, Vec<_>) = steps.into_iter().partition(is_poison);
        let confs: Vec<_> = choice.session_confs.clone().into_iter().collect();
        let mut rebuilt = match rebuild(route.clone(), &confs, steps).await {
            Ok(rebuilt) => rebuilt,
            Err(error) => return Err(self.blame(route, choice, &error).await),
        };
        self.poison
            .forgive(session, rebuilt.ended.iter().map(|(seq, _)| *seq));
        rebuilt.ended.extend(poison.iter().map(left_out));
        self.settle_unknown(&entries, &rebuilt)
            .await
            .map_err(Miss::Never)?;
        let mut lost = rebuilt.lost;
        lost.extend(poison.iter().map(|step| {
            let what = named(&step.entry);
            format!("{what}: not made again, since it killed {MAX_KILLS} drivers")
        }));
        lost.extend(replay::lost(&entries));
        Ok(Made {
            server_session_id: rebuilt.server_session_id,
            replayed: rebuilt.replayed,
            lost,
            left_out: 0,
        })
    }

    /// Remembers the step over which a driver was lost, if it can be to blame: the driver was the session's own, and
    /// ended on a node that goes on.
    async fn blame(&self, route: &Route, choice: &Choice, error: &RebuildError) -> Miss {
        let RebuildError::DriverLost { step, .. } = error;
        if let Some(seq) = step
            && choice.share_key.is_empty()
            && self.has_ended(route).await
        {
            self.poison.has_killed(route.record.id, *seq);
        }
        Miss::Again(error.to_string())
    }

    /// Whether the agent says, before long, that the driver is gone: it may hear of that later than a broker.
    async fn has_ended(&self, route: &Route) -> bool {
        let request = api::LocateRequest {
            session_id: route.record.id.to_string(),
            epoch: route.epoch.get(),
        };
        let mut agent = self.fleet.client(&route.agent);
        let ended = async {
            loop {
                match agent.locate(request.clone()).await {
                    Ok(_) => tokio::time::sleep(PAUSE).await,
                    Err(status) => return status.code() == Code::NotFound,
                }
            }
        };
        tokio::time::timeout(TOLD_WITHIN, ended).await.unwrap_or(false)
    }

    async fn steps(&self, entries: &[LineageEntry]) -> Result<Vec<Step>, Refusal> {
        let mut steps = Vec::new();
        for step in replay::plan(entries) {
            steps.push(match step {
                Replay::Send(entry) => Step {
                    entry: entry.clone(),
                    request: self.ledger.payload(&entry.payload).await?,
                },
                Replay::DropTempView { entry, name } => Step {
                    // For the new driver it is no write.
                    entry: LineageEntry {
                        class: Class::State,
                        ..entry.clone()
                    },
                    request: drop_temp_view(name),
                },
            });
        }
        Ok(steps)
    }

    /// Writes down how entries ended whose outcome nobody knew before they were replayed.
    async fn settle_unknown(&self, entries: &[LineageEntry], rebuilt: &Rebuilt) -> Result<(), Refusal> {
        for (seq, ended) in &rebuilt.ended {
            let unknown = entries
                .iter()
                .find(|entry| entry.seq == *seq && entry.outcome == Outcome::Unknown);
            if let Some(entry) = unknown {
                let ticket = Ticket {
                    session: entry.session,
                    seq: *seq,
                    operation: entry.operation.clone(),
                };
                self.ledger.finish(&ticket, ended.clone()).await?;
            }
        }
        Ok(())
    }
}

/// What the client of a step is told that no driver survives.
fn left_out(step: &Step) -> (u64, Ended) {
    let status = kills_driver(&step.entry.what, MAX_KILLS);
    (step.entry.seq, Ended::Failed(status))
}

/// An `ExecutePlanRequest` whose plan (3) is a root (1) with the catalog operation (200) `drop_temp_view` (15) or
/// `drop_global_temp_view` (16).
pub(crate) fn drop_temp_view(view: TempView<'_>) -> Bytes {
    let operation = match view {
        TempView::Local(_) => 15,
        TempView::Global(_) => 16,
    };
    let mut message = Vec::new();
    wire::append_string(&mut message, 1, view.name());
    for number in [operation, 200, 1, 3] {
        let inner = std::mem::take(&mut message);
        wire::append_bytes(&mut message, number, &inner);
    }
    message.into()
}

#[cfg(test)]
mod tests {
    use berth_core::connect::classify_execute;

    use super::*;

    #[test]
    fn a_view_is_dropped_where_it_is() {
        for (view, key) in [
            (TempView::Local("v"), "view:v"),
            (TempView::Global("v"), "gview:v"),
        ] {
            let dropped = classify_execute(&drop_temp_view(view)).unwrap();
            assert_eq!((dropped.class, dropped.key.as_str()), (Class::State, key));
        }
    }
}
