//! Takes batches to their end, one step after the other.
//!
//! Each step looks at what is written down, decides with `berth_core::batch`, and does one thing. Nothing is
//! remembered between steps, so that a batch can be followed by several brokers, or by another one from any point.

use std::sync::Arc;
use std::time::Duration;

use berth_core::batch::{Next, Run, next};
use berth_core::ids::SessionId;
use berth_runtime::clock::unix_millis;
use berth_store::Revision;
use bytes::Bytes;
use serde_json::{Value, json};

use super::backend::{Fault, Place, Whereabouts};
use super::desk::{Batches, GRACE};
use super::lines::Lines;
use super::{Batch, End, Last, SAID_BY_BERTH};
use crate::dialects::livy::files::FIELDS;
use crate::dialects::livy::listed::Listed;
use crate::dialects::livy::refusal::Refusal;
use crate::dialects::livy::resource::Upload;

/// How long one question for a batch's end stays open at the agent.
const POLL: Duration = Duration::from_secs(30);
/// A pause before something that cannot be done now is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// As much of a log is kept from its start.
const MAX_LOG_BYTES: usize = 8 << 20;
/// Lines of it: each takes some memory of its own.
const MAX_LOG_LINES: usize = 250_000;

const LOST: &str = "the node or driver was lost while the batch ran; it may have done a part of its work, and is not \
                    run again, since it was not submitted with spark.berth.batch.on-node-loss=rerun";
const POISON: &str = "the node or driver was lost in each of the runs that a batch has; it is not run again";
const CLOSED: &str = "the batch's session was closed";

/// What a step leaves to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    /// Nothing: the batch is over and its place is given back.
    Over,
    /// The next step.
    Step,
    /// The next step, after a pause.
    Pause,
}

/// A batch as it was read.
struct Seen {
    listed: Listed,
    batch: Batch,
    revision: Revision,
}

impl Seen {
    /// The entry with this batch in it.
    fn with(&self, batch: Batch) -> Listed {
        Listed {
            batch: Some(batch),
            ..self.listed.clone()
        }
    }
}

impl Batches {
    /// Follows a batch in the background, unless this broker does so already.
    pub(crate) fn follow(self: &Arc<Self>, listed: &Listed) {
        self.attend(listed.number, listed.session);
    }

    /// As for one whose entry is not at hand: the leader calls this for every batch that is not closed.
    pub(crate) fn attend(self: &Arc<Self>, number: u32, session: SessionId) {
        if !self.followed().insert(session) {
            return;
        }
        let (batches, draining) = (Arc::clone(self), self.tasks.shutdown().clone());
        self.tasks.spawn("batch", async move {
            tokio::select! {
                () = batches.to_its_end(number, session) => {}
                // The leader goes on with it.
                () = draining.draining() => {}
            }
            batches.followed().remove(&session);
        });
    }

    /// As for one of which only the record is at hand.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`].
    pub(crate) async fn attend_called(
        self: &Arc<Self>,
        client_id: &str,
        session: SessionId,
    ) -> Result<(), Refusal> {
        match self.directory.number(client_id).await? {
            Some(number) => {
                self.attend(number, session);
                Ok(())
            }
            // Its entry is gone, and its place may still be there.
            None => self.places.close(session).await,
        }
    }

    async fn to_its_end(&self, number: u32, session: SessionId) {
        loop {
            match self.step(number, session).await {
                Ok(After::Over) => return,
                Ok(After::Step) => {}
                Ok(After::Pause) => tokio::time::sleep(PAUSE).await,
                Err(refusal) => {
                    tracing::debug!(session.id = %session, %refusal, "a step of a batch is tried again");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    async fn step(&self, number: u32, session: SessionId) -> Result<After, Refusal> {
        let seen = match self.directory.of_session(number, session).await? {
            Some((
                Listed {
                    batch: Some(batch), ..
                },
                _,
            )) if batch.end.is_some() => None,
            Some((listed, revision)) => listed.batch.clone().map(|batch| Seen {
                listed,
                batch,
                revision,
            }),
            None => None,
        };
        let Some(seen) = seen else {
            // It has ended or was deleted; its place may still be there.
            self.places.close(session).await?;
            return Ok(After::Over);
        };
        let (epoch, place) = match self.places.look(session).await? {
            Whereabouts::Absent => {
                self.places.open(&seen.listed).await?;
                return Ok(After::Step);
            }
            Whereabouts::Closed => {
                return self
                    .end(&seen, End::because(Last::Killed, Vec::new(), CLOSED))
                    .await;
            }
            Whereabouts::Placing(epoch) => (epoch, None),
            Whereabouts::Lost(epoch) => (epoch.next(), None),
            Whereabouts::On(place) => (place.epoch, Some(place)),
        };
        if seen.batch.cancelled {
            return self.call_off(&seen, place).await;
        }
        match (next(seen.batch.on_node_loss, seen.batch.run, epoch), place) {
            (Next::Stale, _) => Ok(After::Pause),
            (Next::EndLost, _) => self.end_lost(&seen, LOST).await,
            (Next::EndPoison, _) => self.end_lost(&seen, POISON).await,
            (Next::Begin(_) | Next::Follow, None) => self.place(&seen).await,
            // Begun in the next step, by whoever comes first.
            (Next::Begin(run), Some(place)) => self.write_run(&seen, Some(run), place.driver).await,
            (Next::Follow, Some(place)) => self.attend_run(&seen, &place).await,
        }
    }

    /// Ends a batch that a client wants to end: what runs may take its leave of its cluster before its place goes.
    async fn call_off(&self, seen: &Seen, place: Option<Place>) -> Result<After, Refusal> {
        let begun = place.filter(|place| seen.batch.run.is_some_and(|run| run.epoch == place.epoch));
        let mut reported = None;
        if let Some(place) = begun
            && self.places.cancel(&place).await.is_ok()
        {
            reported = self.places.get(&place, GRACE).await.ok();
        }
        let end = reported.and_then(|reported| End::of(&reported));
        let end = end.unwrap_or_else(|| End::because(Last::Killed, Vec::new(), "the batch was cancelled"));
        self.end(seen, end).await
    }

    /// Asks for the end of a run, and starts one that its node has not heard of.
    async fn attend_run(&self, seen: &Seen, place: &Place) -> Result<After, Refusal> {
        match self.places.get(place, POLL).await {
            Ok(reported) => match End::of(&reported) {
                Some(end) => self.end(seen, end).await,
                None => Ok(After::Step),
            },
            Err(Fault::Unknown) => self.start(seen, place).await,
            Err(Fault::NeverBegan) => self.begin_elsewhere(seen).await,
            Err(Fault::Lost) => match next(seen.batch.on_node_loss, seen.batch.run, place.epoch.next()) {
                Next::EndPoison => self.end_lost(seen, POISON).await,
                Next::Begin(_) => self.place(seen).await,
                Next::EndLost | Next::Follow | Next::Stale => self.end_lost(seen, LOST).await,
            },
            Err(Fault::Away(_) | Fault::Refused(_)) => Ok(After::Pause),
        }
    }

    async fn start(&self, seen: &Seen, place: &Place) -> Result<After, Refusal> {
        match self
            .places
            .start(place, &submission(&seen.listed, &seen.batch), &seen.batch.uploads)
            .await
        {
            Ok(()) => Ok(After::Step),
            // Nothing can be started there any more, and nothing was.
            Err(Fault::Unknown) => self.begin_elsewhere(seen).await,
            Err(Fault::Refused(reason)) => {
                self.end(seen, End::because(Last::Dead, Vec::new(), &reason))
                    .await
            }
            Err(Fault::NeverBegan | Fault::Lost | Fault::Away(_)) => Ok(After::Pause),
        }
    }

    /// The run surely did not begin: it does not count, and the next place takes it.
    async fn begin_elsewhere(&self, seen: &Seen) -> Result<After, Refusal> {
        let undone = seen.batch.run.and_then(Run::undone);
        self.write_run(seen, undone, String::new()).await?;
        self.place(seen).await
    }

    async fn write_run(&self, seen: &Seen, run: Option<Run>, driver: String) -> Result<After, Refusal> {
        let batch = Batch {
            run,
            began_at: run.map_or(0, |_| unix_millis()),
            driver,
            ..seen.batch.clone()
        };
        if self.directory.replace(&seen.with(batch), seen.revision).await? {
            tracing::info!(session.id = %seen.listed.session, ?run, dialect = "livy", "batch run");
        }
        Ok(After::Step)
    }

    async fn place(&self, seen: &Seen) -> Result<After, Refusal> {
        match self.places.place(seen.listed.session).await {
            Ok(()) => Ok(After::Step),
            Err(Refusal::Unavailable(reason)) => {
                tracing::debug!(session.id = %seen.listed.session, reason, "a batch waits for a place");
                Ok(After::Pause)
            }
            // Closed meanwhile: the next step sees that.
            Err(Refusal::NotReady(_)) => Ok(After::Step),
            Err(refusal) => {
                let end = End::because(Last::Dead, Vec::new(), &refusal.to_string());
                self.end(seen, end).await
            }
        }
    }

    async fn end_lost(&self, seen: &Seen, why: &str) -> Result<After, Refusal> {
        self.end(seen, End::because(Last::Dead, Vec::new(), why)).await
    }

    /// Writes the end down; the next step gives the place back.
    async fn end(&self, seen: &Seen, mut end: End) -> Result<After, Refusal> {
        let state = end.state;
        if seen.batch.origin.is_some() {
            let (whole, lines) = self.keep_log(seen).await;
            end.whole = whole;
            end.first = self.first_after(seen, lines).await;
            end.slim();
        }
        let batch = Batch {
            end: Some(end),
            ..seen.batch.clone()
        };
        if self.directory.replace(&seen.with(batch), seen.revision).await? {
            let id = seen.listed.session;
            tracing::info!(session.id = %id, ?state, dialect = "livy", "batch ended");
            count(state);
        }
        Ok(After::Step)
    }
}

impl Batches {
    /// Keeps the log from its start: those who read it page by page go on where they are. Tells its name, and how many
    /// lines it has if there were more. Without it, its last lines are what is told.
    async fn keep_log(&self, seen: &Seen) -> (Option<String>, Option<usize>) {
        if seen.batch.run.is_none() {
            return (None, Some(0));
        }
        let wanted = Lines::new(0, MAX_LOG_LINES, MAX_LOG_BYTES);
        let kept = async {
            let lines = self.places.lines(seen.listed.session, wanted).await?;
            let cut = lines
                .is_full()
                .then(|| format!("{SAID_BY_BERTH}more of the log is not kept"));
            let is_cut = cut.is_some();
            let lines: Vec<String> = lines.all().into_iter().chain(cut).collect();
            if lines.is_empty() {
                return Ok((None, Some(0)));
            }
            let name = self.places.keep(Bytes::from(lines.join("\n"))).await?;
            Ok((Some(name), is_cut.then_some(lines.len())))
        };
        kept.await.unwrap_or_else(|refusal: Refusal| {
            tracing::warn!(session.id = %seen.listed.session, %refusal, "the log of a batch is not kept");
            (None, Some(0))
        })
    }

    /// Where those go on who have read more of a log than the `lines` that are kept of it; 0 if nobody has.
    async fn first_after(&self, seen: &Seen, lines: Option<usize>) -> usize {
        let (Some(lines), Some(origin)) = (lines, &seen.batch.origin) else {
            return 0;
        };
        let read = self.directory.next_line(&seen.listed).await.unwrap_or_else(|refusal| {
            tracing::warn!(session.id = %seen.listed.session, %refusal, "who reads the log of a batch is not known");
            0
        });
        let read = read.saturating_sub(origin.notes.len());
        if read > lines { read } else { 0 }
    }
}

fn count(state: Last) {
    let outcome = match state {
        Last::Success => "success",
        Last::Dead => "dead",
        Last::Killed => "killed",
    };
    metrics::counter!("berth_batches_total", "outcome" => outcome).increment(1);
}

/// What the runner of a batch is told to submit.
fn submission(listed: &Listed, batch: &Batch) -> String {
    let request = &listed.request;
    let named = listed
        .name()
        .or(request.conf.get("spark.app.name").map(String::as_str));
    let name = named.map_or_else(|| format!("livy-batch-{}", listed.number), str::to_owned);
    let file = batch
        .uploads
        .file
        .as_ref()
        .map_or_else(|| json!(batch.file), place_of);
    let [jars, py_files, files, archives] = [
        &request.jars,
        &request.py_files,
        &request.files,
        &request.archives,
    ];
    let list = |conf: &str, named: &[String]| -> Vec<Value> {
        let uploads = batch.uploads.lists.get(conf).into_iter().flatten();
        uploads
            .map(place_of)
            .chain(named.iter().map(|name| json!(name)))
            .collect()
    };
    json!({
        "name": name,
        "file": file,
        "class_name": batch.class_name,
        "args": batch.args,
        "jars": list(FIELDS[0], jars),
        "py_files": list(FIELDS[1], py_files),
        "files": list(FIELDS[2], files),
        "archives": list(FIELDS[3], archives),
    })
    .to_string()
}

/// Where the runner finds a file that came with the submission.
fn place_of(upload: &Upload) -> Value {
    json!({ "name": upload.name, "sha256": upload.sha256 })
}
