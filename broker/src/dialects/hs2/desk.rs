//! Sessions that any broker serves: those that were opened over HTTP, whose handles are in the store.
//!
//! A session that was opened on a connection of its own ends with that, and is not written down.

use std::sync::{Arc, Weak};
use std::time::Duration;

use berth_core::ids::SessionId;
use berth_core::record::Dialect;
use berth_runtime::clock::unix_millis;
use berth_runtime::tasks::Tasks;
use uuid::Uuid;

use super::Hs2;
use super::handle::OperationHandle;
use crate::dialects::sql::directory::{self, Away, Found, Listed};
use crate::dialects::sql::failure::Failure;
use crate::dialects::sql::opening::Opening;
use crate::dialects::sql::operation::Operation;
use crate::dialects::sql::session::Session;
use crate::dialects::sql::{Caller, Origin, Reach};

/// How often sessions that ended elsewhere are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);
/// Sessions that are used here, or are being opened, are found to have ended when they are called for.
const QUIET: Duration = Duration::from_secs(600);

impl Hs2 {
    /// Lets other brokers find a new session, which is first brought to where it begins: no other broker will do that.
    ///
    /// # Errors
    /// It cannot begin there, or not be written down.
    pub(super) async fn share(
        &self,
        caller: &Caller,
        session: &Session,
        pairs: Vec<(String, String)>,
    ) -> Result<(), Failure> {
        if !session.opening.statements().is_empty() {
            session.ready().await?;
        }
        let proxied = session.opening.proxy_user.as_deref();
        let user = proxied.filter(|user| !user.is_empty()).unwrap_or(caller.name());
        let listed = Listed {
            format: directory::format(),
            handle: session.id,
            session: SessionId::for_connect(user, session.id),
            user: user.to_owned(),
            real_user: caller.name().to_owned(),
            tenant: caller.tenant.clone(),
            protocol: session.protocol,
            confs: pairs.into_iter().collect(),
            client_ip: String::new(),
            instance: String::new(),
            opened_at: unix_millis(),
        };
        self.directory.enter(&listed).await?;
        session.share();
        Ok(())
    }

    /// A session of the caller's. One that another broker has opened is taken up.
    ///
    /// # Errors
    /// There is none of this handle, or the store is away.
    pub(super) async fn session(&self, handle: Uuid, caller: &Caller) -> Result<Arc<Session>, Failure> {
        let here = self.engine.session(handle, caller);
        if let Ok(session) = &here
            && !session.is_shared()
        {
            return self.still_open(session).await;
        }
        let unknown = || Failure::no_session(handle);
        let found = self.find(handle).await?.ok_or_else(unknown)?;
        if !may_use(caller, &found.listed) {
            return Err(unknown());
        }
        match here {
            Err(_not_here) if found.record.is_none() => Err(unknown()),
            Err(_not_here) => self.adopt(&found.listed),
            here => here,
        }
    }

    /// A session of this broker alone, unless somebody else has ended it: the leader, or an operator.
    async fn still_open(&self, session: &Arc<Session>) -> Result<Arc<Session>, Failure> {
        if !session.is_over().await {
            return Ok(Arc::clone(session));
        }
        tracing::info!(session.id = %session.inside.id(), "a session that ended elsewhere is forgotten");
        self.engine.forget(session.id);
        Err(Failure::no_session(session.id))
    }

    /// An operation of one of the caller's sessions that is here. It goes with its session, wherever that was closed;
    /// of a session of this broker alone, what became of it can be asked for until its client hears of the end.
    ///
    /// # Errors
    /// There is none of this handle.
    pub(super) async fn operation(
        &self,
        handle: OperationHandle,
        caller: &Caller,
    ) -> Result<(Arc<Session>, Arc<Operation>), Failure> {
        let operation = self.engine.operation(handle.session, handle.id, caller)?;
        let session = self.engine.session(handle.session, caller)?;
        let look = async { self.find(handle.session).await.map(|found| found.is_none()) };
        if session.is_shared() && session.looks_over(look).await {
            return Err(Failure::no_operation(handle.id));
        }
        Ok((session, operation))
    }

    fn adopt(&self, listed: &Listed) -> Result<Arc<Session>, Failure> {
        let origin = Origin {
            id: listed.handle,
            opened_by: listed.real_user.clone(),
            user: listed.user.clone(),
            tenant: listed.tenant.clone(),
            dialect: Dialect::Hs2,
            protocol: listed.protocol,
            reach: Reach::Any,
        };
        let adopted = self.engine.adopt(origin, Opening::read(&listed.pairs())?);
        adopted.share();
        tracing::info!(session.id = %listed.session, "a session that another broker opened is taken up");
        Ok(adopted)
    }

    /// A session that is not over. What this broker still has of one that is goes.
    async fn find(&self, handle: Uuid) -> Result<Option<Found>, Away> {
        let found = self.directory.find_open(handle).await?;
        if found.is_none() {
            self.engine.let_go(Dialect::Hs2, handle);
        }
        Ok(found)
    }

    /// Closes a session everywhere.
    ///
    /// # Errors
    /// The store is away: then it may be closed or not.
    pub(super) async fn close(&self, session: &Arc<Session>) -> Result<(), Failure> {
        if session.is_shared() {
            self.directory.remove(session.id).await?;
        }
        self.engine.close(session).await;
        Ok(())
    }

    /// Lets go of what this broker still has of sessions that ended elsewhere.
    async fn sweep(&self) {
        for handle in self.engine.shared(Dialect::Hs2, QUIET) {
            if let Err(error) = self.find(handle).await {
                tracing::warn!(%error, "sessions that may have ended elsewhere are kept");
                return;
            }
        }
    }
}

/// Sweeps for as long as the dialect is there.
pub(super) fn start_sweep(hs2: Weak<Hs2>, tasks: &Tasks) {
    let draining = tasks.shutdown().clone();
    tasks.spawn("hs2 sweep", async move {
        let mut ticks = tokio::time::interval(SWEEP_INTERVAL);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = draining.draining() => return,
            }
            let Some(hs2) = hs2.upgrade() else { return };
            hs2.sweep().await;
        }
    });
}

/// Who named nobody may use any session, since they could have named anybody.
fn may_use(caller: &Caller, listed: &Listed) -> bool {
    caller.user.as_ref().is_none_or(|user| *user == listed.real_user)
}
