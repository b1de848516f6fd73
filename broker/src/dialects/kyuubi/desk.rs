//! What the calls ask for: sessions that every broker serves, and the operations that run in them here.

use std::sync::Arc;
use std::time::Duration;

use berth_core::ids::SessionId;
use berth_core::record::Dialect;
use berth_runtime::clock::unix_millis;
use berth_runtime::tasks::Tasks;
use berth_store::StoreRef;
use uuid::Uuid;

use super::KyuubiConfig;
use super::cluster::Cluster;
use super::door::From;
use super::operations::{Entry, Operations};
use super::refusal::Refusal;
use super::request::NewSession;
use super::show::Seen;
use crate::dialects::livy::batches::desk::Batches;
use crate::dialects::sql::directory::{self, Directory, Found, Listed};
use crate::dialects::sql::failure::Failure;
use crate::dialects::sql::opening::Opening;
use crate::dialects::sql::operation::Operation;
use crate::dialects::sql::peers::Peers;
use crate::dialects::sql::session::Session;
use crate::dialects::sql::{Caller, Engine, Origin, Reach};

/// How often sessions that ended elsewhere are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);
/// Sessions that are used here, or are being opened, are found to have ended when they are called for.
const QUIET: Duration = Duration::from_secs(600);

/// The dialect's state. One a broker.
#[derive(Debug)]
pub(crate) struct Kyuubi {
    pub(super) engine: Arc<Engine>,
    pub(super) batches: Arc<Batches>,
    pub(super) cluster: Arc<dyn Cluster>,
    pub(super) config: KyuubiConfig,
    /// The release of Spark that tools are told of.
    pub(super) spark_version: String,
    pub(super) peers: Peers,
    pub(super) operations: Operations,
    pub(super) directory: Directory,
    /// The sessions that were opened by HiveServer2's protocol over HTTP.
    pub(super) hs2_directory: Directory,
}

/// A session as this broker serves it.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) found: Found,
    pub(super) session: Arc<Session>,
}

impl Kyuubi {
    /// The dialect over an engine.
    pub(crate) fn new(
        (engine, batches): (Arc<Engine>, Arc<Batches>),
        store: StoreRef,
        cluster: Arc<dyn Cluster>,
        config: KyuubiConfig,
        spark_version: String,
        peers: Peers,
        tasks: &Tasks,
    ) -> Arc<Self> {
        let kyuubi = Arc::new(Self {
            engine,
            batches,
            cluster,
            config,
            spark_version,
            peers,
            operations: Operations::default(),
            hs2_directory: Directory::of(StoreRef::clone(&store), Dialect::Hs2),
            directory: Directory::of(store, Dialect::Kyuubi),
        });
        let (swept, draining) = (Arc::downgrade(&kyuubi), tasks.shutdown().clone());
        tasks.spawn("kyuubi sweep", async move {
            let mut ticks = tokio::time::interval(SWEEP_INTERVAL);
            loop {
                tokio::select! {
                    _ = ticks.tick() => {}
                    () = draining.draining() => return,
                }
                let Some(kyuubi) = swept.upgrade() else { return };
                kyuubi.sweep().await;
            }
        });
        kyuubi
    }

    /// Lets go of what this broker still has of sessions that ended elsewhere.
    async fn sweep(&self) {
        for handle in self.engine.shared(Dialect::Kyuubi, QUIET) {
            if let Err(refusal) = self.find(handle).await {
                tracing::warn!(error = %refusal, "sessions that may have ended elsewhere are kept");
                return;
            }
        }
    }

    /// Opens a session.
    ///
    /// # Errors
    /// What it asks for is not allowed, there is no room for it, or it cannot be written down.
    pub(super) async fn open(
        &self,
        caller: &Caller,
        from: From,
        mut new: NewSession,
    ) -> Result<Listed, Refusal> {
        let mut listed = Listed {
            format: directory::format(),
            handle: Uuid::nil(),
            session: SessionId::for_connect("", Uuid::nil()),
            user: caller.name().to_owned(),
            real_user: caller.name().to_owned(),
            tenant: caller.tenant.clone(),
            protocol: new.protocol_version.unwrap_or(0),
            confs: new.confs(),
            client_ip: from.client_ip,
            instance: from.instance,
            opened_at: unix_millis(),
        };
        let opening = Opening::read(&listed.pairs()).map_err(Refusal::of_opening)?;
        if let Some(proxied) = opening.proxy_user.clone().filter(|user| !user.is_empty()) {
            listed.user = proxied;
        }
        let opened = self
            .engine
            .open(caller, (Dialect::Kyuubi, listed.protocol), Reach::Any, opening)
            .await;
        let session = opened.map_err(Refusal::of_opening)?;
        listed.handle = session.id;
        listed.session = SessionId::for_connect(&listed.user, session.id);
        let opened = self.engine.opened(&session);
        self.settle(&listed, &session).await?;
        opened.keep();
        Ok(listed)
    }

    /// Brings a new session to where it begins, which no other broker will do, and writes it down.
    async fn settle(&self, listed: &Listed, session: &Session) -> Result<(), Refusal> {
        if !session.opening.statements().is_empty() {
            session.ready().await.map_err(Refusal::of_opening)?;
        }
        self.directory.enter(listed).await?;
        Ok(())
    }

    /// A session of the caller's. One that another broker has opened is taken up.
    ///
    /// # Errors
    /// There is none of this handle, or the store is away.
    pub(super) async fn session(&self, handle: &str, caller: &Caller) -> Result<Held, Refusal> {
        let id = Uuid::try_parse(handle).map_err(|_odd| Refusal::no_session(handle))?;
        let found = self.find(id).await?;
        let found = found.filter(|found| may_use(caller, &found.listed));
        let found = found.ok_or_else(|| Refusal::no_session(handle))?;
        let session = match self.engine.session(id, &Caller::default()) {
            Ok(session) => session,
            Err(_not_here) if found.record.is_none() => return Err(Refusal::no_session(handle)),
            Err(_not_here) => self.adopt(&found.listed)?,
        };
        Ok(Held { found, session })
    }

    fn adopt(&self, listed: &Listed) -> Result<Arc<Session>, Refusal> {
        let opening = Opening::read(&listed.pairs()).map_err(Refusal::of_opening)?;
        let origin = Origin {
            id: listed.handle,
            opened_by: listed.real_user.clone(),
            user: listed.user.clone(),
            tenant: listed.tenant.clone(),
            dialect: Dialect::Kyuubi,
            protocol: listed.protocol,
            reach: Reach::Any,
        };
        let adopted = self.engine.adopt(origin, opening);
        tracing::info!(session.id = %listed.session, "a session that another broker opened is taken up");
        Ok(adopted)
    }

    /// A session that is not over. What this broker still has of one that is goes.
    async fn find(&self, handle: Uuid) -> Result<Option<Found>, Refusal> {
        let found = self.directory.find_open(handle).await?;
        if found.is_none() {
            self.let_go(handle);
        }
        Ok(found)
    }

    fn let_go(&self, handle: Uuid) {
        self.operations.remove_session(handle);
        self.engine.let_go(Dialect::Kyuubi, handle);
    }

    /// Closes a session.
    ///
    /// # Errors
    /// The store is away: then it may be closed or not.
    pub(super) async fn close(&self, held: &Held) -> Result<(), Refusal> {
        let handle = held.found.listed.handle;
        self.directory.remove(handle).await?;
        self.operations.remove_session(handle);
        self.engine.close(&held.session).await;
        Ok(())
    }

    /// What this broker has seen of a session.
    pub(super) fn seen(&self, handle: Uuid) -> Seen {
        let session = self.engine.peek(handle);
        session.map_or_else(Seen::default, |session| Seen {
            idle: session.idle(),
            operations: session.begun(),
            failure: session.failure().map(|failure| failure.text),
        })
    }

    /// Takes in an operation that the engine has begun.
    pub(super) fn enter(
        &self,
        held: &Held,
        operation: Arc<Operation>,
        statement: &str,
        runs_async: bool,
    ) -> Arc<Entry> {
        let listed = Arc::new(held.found.listed.clone());
        self.operations
            .enter(Entry::new(operation, listed, statement, runs_async))
    }

    /// An operation of one of the caller's sessions.
    ///
    /// # Errors
    /// There is none of this handle here.
    pub(super) async fn operation(&self, handle: &str, caller: &Caller) -> Result<Arc<Entry>, Refusal> {
        let id = Uuid::try_parse(handle).ok();
        let entry = id.and_then(|id| self.operations.find(id));
        let entry = entry.filter(|entry| may_use(caller, &entry.listed));
        let entry = entry.ok_or_else(|| no_operation(handle))?;
        let session = entry.listed.handle;
        if self.find(session).await?.is_none() {
            return Err(no_operation(handle));
        }
        match self
            .engine
            .operation(session, entry.operation.id, &Caller::default())
        {
            Ok(_) => Ok(entry),
            Err(_closed) => {
                self.operations.remove(entry.operation.id);
                Err(no_operation(handle))
            }
        }
    }

    /// Closes an operation.
    pub(super) fn close_operation(&self, entry: &Entry) {
        self.operations.remove(entry.operation.id);
        if let Some(session) = self.engine.peek(entry.listed.handle) {
            self.engine.close_operation(&session, &entry.operation);
        }
    }
}

/// An administrator may use any session. So may who named nobody, since they could have named anybody.
fn may_use(caller: &Caller, listed: &Listed) -> bool {
    caller.operator || caller.user.as_ref().is_none_or(|user| *user == listed.real_user)
}

fn no_operation(handle: &str) -> Refusal {
    let handle: String = handle.chars().take(100).collect();
    Refusal::of_operation(
        &format!("Invalid OperationHandle [{handle}]"),
        Failure::invalid(
            "it was closed, was never begun by this user, or its broker has gone; run the statement again",
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::super::show::tests::listed;
    use super::*;

    #[test]
    fn i7_a_session_is_its_openers() {
        // kyuubi#46
        let caller = |user: Option<&str>| Caller {
            user: user.map(str::to_owned),
            ..Caller::default()
        };
        let opened_by_ann = listed(&[]);
        assert!(may_use(&caller(Some("ann")), &opened_by_ann));
        assert!(!may_use(&caller(Some("bob")), &opened_by_ann));
        assert!(may_use(&caller(None), &opened_by_ann));
        let operator = Caller {
            operator: true,
            ..caller(Some("bob"))
        };
        assert!(may_use(&operator, &opened_by_ann));
    }
}
