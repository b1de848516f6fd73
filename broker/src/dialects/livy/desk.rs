//! What the calls do: sessions here, statements in [`run`], [`follow`] and [`look`], those of
//! other brokers in [`adopt`], resources and jobs in [`resources`],
//! what has no driver yet in [`waiting`].

mod adopt;
mod follow;
mod followed;
mod look;
mod resources;
mod run;
mod starting;
mod waiting;

use std::sync::{Arc, Mutex};

use berth_core::ids::SessionId;
use berth_core::record::{Application, FORMAT};
use berth_runtime::tasks::Tasks;
use berth_store::StoreRef;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::access::Right;
use super::backend::{Backend, Phase, Seat};
use super::directory::Directory;
use super::idempotency::Key;
use super::kind::Kind;
use super::listed::{Keyed, Listed};
use super::recovery::Recovery;
use super::refusal::Refusal;
use super::request::NewSession;
use super::{Caller, LivyConfig, view};
use followed::Followed;
use starting::Starting;

/// Sessions whose statements start in turn. Two sessions may share a turn; it is held for one call of an agent.
const TURNS: usize = 256;

/// Statements and jobs of a session that may wait or run at once. To read which is next takes reading all of them.
pub(super) const MAX_OPEN: usize = 1000;

fn stopping(_closed: oneshot::error::RecvError) -> Refusal {
    Refusal::Unavailable("the broker is shutting down".to_owned())
}

/// How a session is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Now {
    /// Livy's word for it.
    pub state: &'static str,
    /// Its driver's application, while it has one.
    pub application: Option<Application>,
}

impl Now {
    /// A session that was entered just now.
    pub const fn starting() -> Self {
        Self {
            state: "starting",
            application: None,
        }
    }
}

/// The dialect's work, for all connections.
#[derive(Debug)]
pub struct Desk {
    backend: Arc<dyn Backend>,
    directory: Directory,
    config: LivyConfig,
    tasks: Tasks,
    starting: Starting,
    turns: Vec<tokio::sync::Mutex<()>>,
    /// Statements whose end a task of this desk waits for.
    followed: Followed,
    /// Statements that wait for a driver.
    waiting: Mutex<waiting::Waiting>,
}

impl Desk {
    /// A desk that keeps its directory in `store` and its work in `tasks`.
    pub fn new(backend: Arc<dyn Backend>, store: StoreRef, tasks: Tasks, config: LivyConfig) -> Self {
        Self {
            backend,
            directory: Directory::new(store),
            config,
            tasks,
            starting: Starting::default(),
            followed: Followed::default(),
            waiting: Mutex::default(),
            turns: (0..TURNS).map(|_| tokio::sync::Mutex::default()).collect(),
        }
    }

    /// Limits and switches.
    pub fn config(&self) -> &LivyConfig {
        &self.config
    }

    /// Enters a session and starts it in the background. A request that is repeated with its key gets the session
    /// that it made first, and false.
    ///
    /// # Errors
    /// What is wrong with the request; then no session is there and no id is used up.
    pub async fn create(
        self: &Arc<Self>,
        request: NewSession,
        caller: Caller,
        key: Option<&Key>,
    ) -> Result<(Listed, bool), Refusal> {
        request.check()?;
        let kind = request.kind.as_deref().map_or(Ok(Kind::Shared), str::parse)?;
        let proxy_user = self.config.runs_as(&caller, request.proxy_user.as_deref())?;
        let key = key.map(|key| Keyed::of(key, &caller.user, proxy_user.as_deref()));
        let listed = Listed {
            format: FORMAT,
            number: 0,
            session: SessionId::new(Uuid::now_v7()),
            proxy_user,
            owner: caller.user,
            tenant: caller.tenant,
            kind,
            request,
            failed: None,
            key,
            batch: None,
        };
        self.backend.check(&listed)?;
        // What is there already needs no room.
        if let Some(first) = self.directory.made_before(&listed).await? {
            return Ok((first, false));
        }
        let room = self.starting.reserve(self.config.max_starting);
        let room = room.ok_or(Refusal::TooManyStarting)?;
        let (listed, is_new) = self.directory.enter(listed).await?;
        if is_new && room.start(listed.number) {
            self.spawn_placing(&listed);
        }
        Ok((listed, is_new))
    }

    /// Finds a session for a user who may use and end it.
    ///
    /// # Errors
    /// [`Refusal::NoSession`], [`Refusal::Forbidden`].
    pub async fn find(&self, segment: &str, user: &str) -> Result<Listed, Refusal> {
        self.find_for(segment, user, Right::Modify).await
    }

    /// Finds a session for a user who has a right to it.
    ///
    /// # Errors
    /// [`Refusal::NoSession`], [`Refusal::Forbidden`].
    pub async fn find_for(&self, segment: &str, user: &str, right: Right) -> Result<Listed, Refusal> {
        let listed = self.directory.find(segment).await?;
        if self.may(&listed, user, right) {
            self.touch(&listed, false);
            Ok(listed)
        } else {
            Err(Refusal::Forbidden(listed.number))
        }
    }

    /// Keeps a session alive that ends without calls; with `used`, one that ends without use, too.
    pub fn touch(&self, listed: &Listed, used: bool) {
        let lifetime = listed.request.lifetime();
        if used || lifetime.uncalled_millis > 0 {
            self.backend.touch(listed.session, used);
        }
    }

    /// True if a user has a right to a session.
    pub fn may(&self, listed: &Listed, user: &str, right: Right) -> bool {
        let proxy_user = listed.proxy_user.as_deref();
        self.config.may(user, right, &listed.owner, proxy_user)
    }

    /// The sessions that a user may look at, in creation order.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`].
    pub async fn all(&self, user: &str) -> Result<Vec<Listed>, Refusal> {
        let mut all = self.directory.all().await?;
        all.retain(|listed| self.may(listed, user, Right::Look));
        Ok(all)
    }

    /// Livy's word for how a session is. One whose start was left undone by a lost broker is started by this.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`].
    pub async fn state(self: &Arc<Self>, listed: &Listed) -> Result<&'static str, Refusal> {
        if let Some(state) = self.state_without_driver(listed).await? {
            return Ok(state);
        }
        let open = self.backend.unfinished(listed.session).await?;
        // Whoever was giving them to the driver may be gone, too.
        if open.waits > 0 && !self.waiting().is_given(listed.session) {
            self.give_away(listed);
        }
        Ok(if open.count() > 0 { "busy" } else { "idle" })
    }

    /// As [`Desk::state`], but `None` for a session that has its driver.
    pub(super) async fn state_without_driver(
        self: &Arc<Self>,
        listed: &Listed,
    ) -> Result<Option<&'static str>, Refusal> {
        if listed.failed.is_some() {
            return Ok(Some("dead"));
        }
        let state = match self.backend.phase(listed.session).await? {
            Phase::Active => return Ok(None),
            Phase::Closed => return Ok(Some("dead")),
            Phase::Absent | Phase::Placing => "starting",
            Phase::Recovering => "recovering",
        };
        // Whoever was placing it may be gone: then it goes on here.
        self.place(listed);
        Ok(Some(state))
    }

    /// How a session is, as [`Desk::state`], and its application.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`].
    pub async fn now(self: &Arc<Self>, listed: &Listed) -> Result<Now, Refusal> {
        let state = self.state(listed).await?;
        let application = match state {
            "idle" | "busy" => self.backend.application(listed.session).await?,
            _ => None,
        };
        Ok(Now { state, application })
    }

    /// The log of the session's driver, and what became of the session.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`].
    pub async fn log(&self, listed: &Listed) -> Result<Vec<String>, Refusal> {
        let driver = match &listed.failed {
            Some(_) => Vec::new(),
            None => self.backend.log(listed.session).await?,
        };
        let mut told = self.recovery(listed).await?.lines();
        told.extend(listed.failed.clone());
        Ok(view::sections(driver, told))
    }

    /// What became of the session when it came to its drivers.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`].
    pub async fn recovery(&self, listed: &Listed) -> Result<Recovery, Refusal> {
        Ok(Recovery::of(&self.backend.history(listed.session).await?))
    }

    /// Ends a session; its entry stays, as one that is dead, for as long as the broker keeps what has ended.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`].
    pub async fn stop(self: &Arc<Self>, listed: &Listed) -> Result<(), Refusal> {
        let (desk, listed) = (Arc::clone(self), listed.clone());
        self.to_its_end(async move { desk.stop_now(&listed).await }).await
    }

    async fn stop_now(&self, listed: &Listed) -> Result<(), Refusal> {
        self.backend.close(listed.session).await?;
        // One that was not placed yet must not be placed by whoever looks at it next.
        self.directory
            .fail(listed.number, "the session was stopped")
            .await?;
        self.backend.close(listed.session).await
    }

    /// Ends a session and forgets its id and name. It does not wait for a driver that is starting.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`].
    pub async fn delete(self: &Arc<Self>, listed: &Listed) -> Result<(), Refusal> {
        let (desk, listed) = (Arc::clone(self), listed.clone());
        self.to_its_end(async move { desk.delete_now(&listed).await })
            .await
    }

    /// Does what must not stop half-way when its client, or the time for its answer, is gone.
    async fn to_its_end<F>(&self, work: F) -> Result<(), Refusal>
    where
        F: Future<Output = Result<(), Refusal>> + Send + 'static,
    {
        let (tell, told) = oneshot::channel();
        self.tasks.spawn("livy end", async move {
            tell.send(work.await).ok();
        });
        told.await.unwrap_or_else(|closed| Err(stopping(closed)))
    }

    async fn delete_now(&self, listed: &Listed) -> Result<(), Refusal> {
        self.backend.close(listed.session).await?;
        self.directory.remove(listed).await?;
        // It may have got its record meanwhile.
        self.backend.close(listed.session).await
    }

    /// Starts the session in the background, unless that is going on already.
    fn place(self: &Arc<Self>, listed: &Listed) {
        if self.starting.start(listed.number) {
            self.spawn_placing(listed);
        }
    }

    fn spawn_placing(self: &Arc<Self>, listed: &Listed) {
        let (desk, listed) = (Arc::clone(self), listed.clone());
        self.tasks.spawn("livy start", async move {
            desk.place_now(&listed).await;
            desk.starting.has_ended(listed.number);
        });
    }

    async fn place_now(&self, listed: &Listed) {
        let refusal = match self.backend.seat(listed).await {
            Ok(seat) => {
                self.close_if_over(listed).await;
                return self.prepare(listed, seat).await;
            }
            Err(refusal) => refusal,
        };
        tracing::warn!(session.id = %listed.session, dialect = "livy", error = %refusal, "session not started");
        // What may work later is tried again when somebody asks for the session.
        if matches!(refusal, Refusal::Unavailable(_)) {
            return;
        }
        if let Err(error) = self.directory.fail(listed.number, &refusal.to_string()).await {
            tracing::warn!(session.id = %listed.session, %error, "failed start not written down");
        }
        // One that was to be recovered is there still.
        self.close_if_over(listed).await;
    }

    /// Has the interpreter of Scala start in the background where it is sure to be used: that takes seconds. Best
    /// effort: its first statement starts it as well.
    async fn prepare(&self, listed: &Listed, seat: Seat) {
        if listed.kind != Kind::Spark {
            return;
        }
        if let Err(error) = self.backend.complete(seat, Kind::Spark, "", 0).await {
            tracing::debug!(session.id = %listed.session, %error, "the Scala interpreter does not start ahead");
        }
    }

    /// A session can be deleted or stopped while it starts; its driver must not stay.
    async fn close_if_over(&self, listed: &Listed) {
        let over = match self.directory.find(&listed.number.to_string()).await {
            Ok(now) => now.failed.is_some(),
            Err(error) => matches!(error, Refusal::NoSession(_)),
        };
        if over && let Err(error) = self.backend.close(listed.session).await {
            tracing::warn!(session.id = %listed.session, %error, "a session that is over was not closed");
        }
    }
}
