//! What the calls of batches do.

use berth_core::ids::SessionId;
use berth_core::record::FORMAT;
use uuid::Uuid;

use super::super::Kyuubi;
use super::super::door::From;
use super::super::refusal::Refusal;
use super::request::{Files, NewBatch};
use super::show::Shown;
use crate::dialects::livy::batches::lines::Lines;
use crate::dialects::livy::batches::origin::Origin;
use crate::dialects::livy::batches::{Batch, SAID_BY_BERTH};
use crate::dialects::livy::kind::Kind;
use crate::dialects::livy::listed::{Keyed, Listed};
use crate::dialects::livy::refusal::Refusal as Refused;
use crate::dialects::sql::{Caller, acting};

/// Lines of a log that are told at once, and their bytes.
const MAX_LINES: i64 = 100_000;
const MAX_PAGE_BYTES: usize = 8 << 20;

/// True of those who may read of a batch and end it. Who named nobody could have named anybody.
fn may_use(caller: &Caller, shown: &Shown) -> bool {
    let is_theirs = |user: &String| *user == shown.listed.owner || *user == shown.origin.real_user;
    caller.operator || caller.user.as_ref().is_none_or(is_theirs)
}

fn unknown(id: &str) -> Refusal {
    Refusal::NotFound(format!("Invalid batchId: {id:.100}"))
}

impl Kyuubi {
    /// Submits a batch: durable, and within the limits of its tenant, when this returns. False if one of this id was
    /// there before.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) async fn submit(
        &self,
        caller: &Caller,
        from: From,
        new: NewBatch,
        files: Files,
    ) -> Result<(Shown, bool), Refusal> {
        let asked = new.take(files, &self.batches.config().local_dirs)?;
        let real_user = caller.name().to_owned();
        let proxied = acting(caller, &real_user, asked.proxy_user.as_deref());
        let owner = proxied.map_err(Refusal::of_opening)?;
        let origin = Origin {
            id: asked.id.unwrap_or_else(Uuid::new_v4),
            kind: asked.kind,
            name: asked.name,
            real_user,
            client_ip: from.client_ip,
            instance: from.instance,
            notes: asked.notes,
        };
        let listed = Listed {
            format: FORMAT,
            number: 0,
            session: SessionId::new(Uuid::now_v7()),
            owner,
            tenant: caller.tenant.clone(),
            proxy_user: None,
            kind: Kind::Shared,
            request: asked.session,
            failed: None,
            key: Some(Keyed {
                id: origin.id,
                asked: 0,
            }),
            batch: Some(Batch {
                origin: Some(Box::new(origin)),
                ..asked.batch
            }),
        };
        let id = listed.client_id();
        let (listed, is_new) = self.batches.submit(listed).await?;
        let shown = Shown::of(listed).ok_or_else(|| unknown(&id))?;
        if is_new {
            return Ok((shown, true));
        }
        if !may_use(caller, &shown) {
            let text = format!("a batch of another user has the id {id}; choose another one");
            return Err(Refusal::Forbidden(text));
        }
        // The broker that took it may be gone before it has begun.
        self.batches.follow(&shown.listed);
        Ok((shown, false))
    }

    /// The batches that a caller may see, in the order in which they were submitted.
    ///
    /// # Errors
    /// The store is away.
    pub(in crate::dialects::kyuubi) async fn batches_of(
        &self,
        caller: &Caller,
    ) -> Result<Vec<Shown>, Refusal> {
        let all = self.batches.directory.all().await?;
        let all = all.into_iter().filter_map(Shown::of);
        Ok(all.filter(|shown| may_use(caller, shown)).collect())
    }

    /// A batch, whoever's it is.
    async fn any_batch(&self, id: &str) -> Result<Shown, Refusal> {
        let key = Uuid::try_parse(id).map_err(|_no_uuid| unknown(id))?;
        let found = self.batches.directory.by_key(key).await?;
        let shown = found.and_then(|(listed, _)| Shown::of(listed));
        shown.ok_or_else(|| unknown(id))
    }

    /// A batch of the caller's.
    ///
    /// # Errors
    /// There is none of this id.
    pub(super) async fn batch(&self, id: &str, caller: &Caller) -> Result<Shown, Refusal> {
        let shown = self.any_batch(id).await?;
        match may_use(caller, &shown) {
            true => Ok(shown),
            false => Err(unknown(id)),
        }
    }

    /// Ends a batch, if it has not ended. It stays to be read of.
    ///
    /// # Errors
    /// There is none of this id, or it is somebody else's.
    pub(in crate::dialects::kyuubi) async fn cancel_batch(
        &self,
        id: &str,
        caller: &Caller,
    ) -> Result<(bool, String), Refusal> {
        let shown = self.any_batch(id).await?;
        if !may_use(caller, &shown) {
            let user = caller.name();
            let text = format!(
                "{user} is not allowed to end the batch {id}, which belongs to {}",
                shown.listed.owner
            );
            return Err(Refusal::Forbidden(text));
        }
        Ok(match self.batches.cancel(&shown.listed).await? {
            true => (true, format!("Batch {id} is being ended.")),
            false => (
                false,
                format!("Batch {id} has been terminated already: it is {}.", shown.state()),
            ),
        })
    }

    /// Lines of a log, from line `from` on; below 0 from where the last call ended.
    ///
    /// # Errors
    /// There is no batch of this id, or its node does not answer.
    pub(super) async fn batch_log(
        &self,
        id: &str,
        caller: &Caller,
        from: i64,
        size: i64,
    ) -> Result<Vec<String>, Refusal> {
        let shown = self.batch(id, caller).await?;
        let listed = &shown.listed;
        let start = match usize::try_from(from) {
            Ok(from) => from,
            Err(_below_zero) => self.batches.directory.next_line(listed).await?,
        };
        let size = usize::try_from(size.min(MAX_LINES)).unwrap_or(0);
        let mut lines: Vec<String> = shown
            .origin
            .notes
            .iter()
            .skip(start)
            .take(size)
            .cloned()
            .collect();
        let before = start.saturating_sub(shown.origin.notes.len());
        let rest = size - lines.len();
        if rest > 0 {
            lines.extend(self.lines_of(&shown, before, rest).await?);
        }
        if !lines.is_empty() {
            let kept = self.batches.directory.keep_next_line(listed, start + lines.len());
            if let Err(refusal) = kept.await {
                // Lines that come twice are better than none.
                tracing::warn!(session.id = %listed.session, error = %refusal, "how far a log was read is not kept");
            }
        }
        Ok(lines)
    }

    /// Lines of what the application wrote, and why it is over.
    async fn lines_of(&self, shown: &Shown, from: usize, most: usize) -> Result<Vec<String>, Refusal> {
        let mut wanted = Lines::new(from, most, MAX_PAGE_BYTES);
        let Some(end) = &shown.batch.end else {
            return Ok(match shown.batch.run {
                Some(_) => self
                    .batches
                    .places
                    .lines(shown.listed.session, wanted)
                    .await?
                    .whole(),
                // A line that is not there later would take the place of one that its client then misses.
                None => Vec::new(),
            });
        };
        let is_past = end.first > 0 && from >= end.first;
        let Some(kept) = end.whole.as_ref().filter(|_| !is_past) else {
            return Ok(end.last_lines(from).iter().take(most).cloned().collect());
        };
        wanted.feed(&self.batches.places.kept(kept).await?);
        wanted.feed(b"\n");
        if let Some(why) = end.log.last().filter(|last| last.starts_with(SAID_BY_BERTH)) {
            wanted.feed(format!("{why}\n").as_bytes());
        }
        Ok(wanted.whole())
    }

    /// Has this broker follow the batches that a server took which is gone, and says that it does. Any broker that
    /// leads does the same without being asked.
    ///
    /// # Errors
    /// The server is there.
    pub(super) async fn reassign(&self, instance: &str, here: &str) -> Result<Vec<Uuid>, Refusal> {
        self.check_gone(instance).await?;
        let mut moved = Vec::new();
        for listed in self.batches.directory.all().await? {
            let Some((mut listed, revision)) = self
                .batches
                .directory
                .of_session(listed.number, listed.session)
                .await?
            else {
                continue;
            };
            let Some(batch) = listed.batch.as_mut().filter(|batch| batch.end.is_none()) else {
                continue;
            };
            let Some(origin) = batch.origin.as_mut().filter(|origin| origin.instance == instance) else {
                continue;
            };
            origin.instance = here.to_owned();
            let id = origin.id;
            if self.batches.directory.replace(&listed, revision).await? {
                self.batches.follow(&listed);
                moved.push(id);
            }
        }
        Ok(moved)
    }

    async fn check_gone(&self, instance: &str) -> Result<(), Refusal> {
        let urls = [format!("http://{instance}"), format!("https://{instance}")];
        let brokers = self.directory.brokers().await?;
        let is_it = |url: &String| urls.contains(&url.trim_end_matches('/').to_owned());
        if brokers
            .iter()
            .any(|broker| broker.kyuubi_url.as_ref().is_some_and(is_it))
        {
            return Err(Refusal::Malformed(format!(
                "{instance:.100} is alive: its batches are not reassigned"
            )));
        }
        Ok(())
    }
}

impl std::convert::From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Rejected(text) | Refused::Malformed(text) => Self::Malformed(text),
            Refused::Full(reason) => Self::full(&reason),
            Refused::NoSession(id) => unknown(&id),
            Refused::TooLarge(most) => Self::TooLarge(most),
            Refused::Unavailable(reason) => Self::Unavailable(reason),
            other => Self::Malformed(other.to_string()),
        }
    }
}
