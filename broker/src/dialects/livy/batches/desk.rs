//! What the calls of batches do.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use berth_core::ids::SessionId;
use berth_core::record::{FORMAT, Record as _};
use berth_runtime::tasks::Tasks;
use berth_store::StoreRef;
use tokio::time::Instant;
use uuid::Uuid;

use super::Batch;
use super::backend::{Places, Whereabouts};
use super::request::NewBatch;
use crate::dialects::livy::access::Right;
use crate::dialects::livy::directory::{Directory, Resource};
use crate::dialects::livy::idempotency::Key;
use crate::dialects::livy::kind::Kind;
use crate::dialects::livy::listed::{Keyed, Listed};
use crate::dialects::livy::refusal::Refusal;
use crate::dialects::livy::{Caller, LivyConfig};

/// What an application that is being deleted may still need to end by itself.
pub(super) const GRACE: Duration = Duration::from_secs(12);
/// An entry is one value of the store, and goes to a node as one message.
const MAX_ENTRY_BYTES: usize = 512 << 10;
/// A change that others make at the same time is made again so often.
const MAX_TRIES: u32 = 32;

/// The batches of the cluster, for all connections.
#[derive(Debug)]
pub struct Batches {
    pub(crate) places: Arc<dyn Places>,
    pub(crate) directory: Directory,
    resource: Resource,
    config: LivyConfig,
    pub(super) tasks: Tasks,
    /// Batches that a task of this broker takes to their end.
    followed: Mutex<BTreeSet<SessionId>>,
}

impl Batches {
    /// Batches whose directory is in `store`; their work is in `tasks`.
    pub fn new(places: Arc<dyn Places>, store: StoreRef, tasks: Tasks, config: LivyConfig) -> Self {
        Self::of(Resource::Batches, places, store, tasks, config)
    }

    /// As for those of another kind.
    pub fn of(
        resource: Resource,
        places: Arc<dyn Places>,
        store: StoreRef,
        tasks: Tasks,
        config: LivyConfig,
    ) -> Self {
        Self {
            places,
            directory: Directory::of(store, resource),
            resource,
            config,
            tasks,
            followed: Mutex::default(),
        }
    }

    /// True if this is about batches of that kind.
    pub(crate) fn are(&self, resource: Resource) -> bool {
        self.resource == resource
    }

    /// Limits and switches.
    pub fn config(&self) -> &LivyConfig {
        &self.config
    }

    pub(super) fn followed(&self) -> MutexGuard<'_, BTreeSet<SessionId>> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a batch and starts it in the background. It is durable, and counted, when this returns. A request that
    /// is repeated with its key gets the batch that it made first.
    ///
    /// # Errors
    /// What is wrong with the request, or the limit that it is over; then no batch is there.
    pub async fn create(
        self: &Arc<Self>,
        request: NewBatch,
        caller: Caller,
        key: Option<&Key>,
    ) -> Result<Listed, Refusal> {
        let (request, batch) = request.take(&self.config.local_dirs)?;
        let proxy_user = self.config.runs_as(&caller, request.proxy_user.as_deref())?;
        let key = key.map(|key| Keyed::of(key, &caller.user, proxy_user.as_deref()));
        let listed = Listed {
            format: FORMAT,
            number: 0,
            session: SessionId::new(Uuid::now_v7()),
            proxy_user,
            owner: caller.user,
            tenant: caller.tenant,
            kind: Kind::Shared,
            request,
            failed: None,
            key,
            batch: Some(batch),
        };
        self.submit(listed).await.map(|(listed, _)| listed)
    }

    /// As [`Batches::create`], of an entry that is complete but for its number. False if the batch was there before.
    ///
    /// # Errors
    /// What is wrong with it, or the limit that it is over; then no batch is there.
    pub(crate) async fn submit(self: &Arc<Self>, listed: Listed) -> Result<(Listed, bool), Refusal> {
        self.places.check(&listed)?;
        let bytes = listed.encode().len();
        if bytes > MAX_ENTRY_BYTES {
            return Err(Refusal::Rejected(format!(
                "the submission has {bytes} bytes and may have {MAX_ENTRY_BYTES}; put what is large into a file"
            )));
        }
        let (listed, is_new) = self.directory.enter(listed).await?;
        if !is_new {
            return Ok((listed, false));
        }
        match self.places.open(&listed).await {
            // It is durable, and is opened when there is somebody to ask: told to come again, its client would have two.
            Ok(()) | Err(Refusal::Unavailable(_)) => {}
            Err(refusal) => {
                // What was opened all the same is found without an entry, and closed.
                self.directory.remove(&listed).await?;
                return Err(refusal);
            }
        }
        self.follow(&listed);
        Ok((listed, true))
    }

    /// Asks for the end of a batch that stays to be read of, as cancelled. Whoever follows it does that, now or later.
    /// False if it has ended before.
    ///
    /// # Errors
    /// [`Refusal::NoSession`], [`Refusal::Unavailable`].
    pub(crate) async fn cancel(self: &Arc<Self>, listed: &Listed) -> Result<bool, Refusal> {
        let session = listed.session;
        for _ in 0..MAX_TRIES {
            let found = self.directory.of_session(listed.number, session).await?;
            let none = || Refusal::NoSession(listed.client_id());
            let (mut now, revision) = found.ok_or_else(none)?;
            let Some(batch) = now.batch.as_mut().filter(|batch| batch.end.is_none()) else {
                return Ok(false);
            };
            batch.cancelled = true;
            if self.directory.replace(&now, revision).await? {
                self.follow(&now);
                self.hurry(session).await;
                return Ok(true);
            }
        }
        Err(Refusal::Unavailable(
            "the batch is being changed by others".to_owned(),
        ))
    }

    /// Tells the place of a batch at once what whoever follows it will tell it, too.
    async fn hurry(&self, session: SessionId) {
        if let Ok(Whereabouts::On(place)) = self.places.look(session).await
            && let Err(fault) = self.places.cancel(&place).await
        {
            tracing::debug!(session.id = %session, %fault, "a batch is cancelled in the next step");
        }
    }

    /// True if a user has a right to a batch.
    pub fn may(&self, listed: &Listed, user: &str, right: Right) -> bool {
        let proxy_user = listed.proxy_user.as_deref();
        self.config.may(user, right, &listed.owner, proxy_user)
    }

    /// Finds a batch for a user who has a right to it.
    ///
    /// # Errors
    /// [`Refusal::NoSession`], [`Refusal::Forbidden`].
    pub async fn find(&self, segment: &str, user: &str, right: Right) -> Result<Listed, Refusal> {
        let listed = self.directory.find(segment).await?;
        if self.may(&listed, user, right) {
            Ok(listed)
        } else {
            Err(Refusal::Forbidden(listed.number))
        }
    }

    /// The batches that a user may look at, in creation order.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`].
    pub async fn all(&self, user: &str) -> Result<Vec<Listed>, Refusal> {
        let mut all = self.directory.all().await?;
        all.retain(|listed| self.may(listed, user, Right::Look));
        Ok(all)
    }

    /// The last lines of its log: as its node has them while it runs, then as its end keeps them.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`].
    pub async fn log(&self, listed: &Listed, batch: &Batch) -> Result<Vec<String>, Refusal> {
        match (&batch.end, batch.run) {
            (Some(end), _) => Ok(end.log.clone()),
            (None, Some(_)) => self.places.log(listed.session).await,
            (None, None) => Ok(Vec::new()),
        }
    }

    /// Ends a batch with all its processes, and forgets it.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`].
    pub async fn delete(&self, listed: &Listed, batch: &Batch) -> Result<(), Refusal> {
        if batch.end.is_none() {
            self.end_orderly(listed.session).await?;
        }
        self.places.close(listed.session).await?;
        self.directory.remove(listed).await
    }

    /// Lets the application take its leave of its cluster. What does not, ends with its place.
    async fn end_orderly(&self, session: SessionId) -> Result<(), Refusal> {
        let Whereabouts::On(place) = self.places.look(session).await? else {
            return Ok(());
        };
        let until = Instant::now() + GRACE;
        let asked = async {
            self.places.cancel(&place).await?;
            self.places
                .get(&place, until.saturating_duration_since(Instant::now()))
                .await
        };
        if let Err(fault) = asked.await {
            tracing::debug!(session.id = %session, %fault, "a batch did not end by itself");
        }
        Ok(())
    }
}
