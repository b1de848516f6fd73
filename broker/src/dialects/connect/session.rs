//! Who calls, about which session, and where it lives.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use berth_core::ids::SessionId;
use berth_core::record::{Cause, Dialect, Lifetime, Work};
use berth_runtime::telemetry::trace;
use bytes::Bytes;
use tonic::Status;
use tonic::metadata::MetadataMap;
use uuid::Uuid;

use super::backend::Route;
use super::backend::{Refusal, Wanted};
use super::errors::{self, Handle, invalid_handle};
use super::inside::{self, Terms};
use super::loss::Fault;
use super::rewrite::{self, Head};
use super::rpc::Rpc;
use super::{Connect, ForgedUser, Identity, upstream};

/// Names the profile in a connection string: `sc://host/;x-berth-profile=large`.
const PROFILE_HEADER: &str = "x-berth-profile";
/// How many lost drivers one call outlives before its client is told.
const MAX_LOSSES_PER_CALL: u32 = 4;

/// One request with what was found out about its sender.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    /// Which call.
    pub(crate) rpc: Rpc,
    /// The (first) message.
    pub(crate) message: Bytes,
    /// The session's user: the authenticated one, or the one that the message names.
    pub(crate) user: String,
    /// Who was authenticated, if anybody.
    pub(crate) identity: Option<Identity>,
    /// The client's session id.
    pub(crate) client_session: Uuid,
    /// The session.
    pub(crate) session: SessionId,
    /// The server-side session id that the client knows.
    observed: Option<String>,
    /// The client's headers.
    pub(crate) headers: MetadataMap,
    /// Those of them that its driver sees.
    pub(crate) metadata: MetadataMap,
    /// What another dialect opens it with; `None` for a client of this one.
    terms: Option<Arc<Terms>>,
}

impl Connect {
    /// Reads who calls about which session.
    ///
    /// # Errors
    /// INVALID_HANDLE.FORMAT, or PERMISSION_DENIED for another user's name.
    pub(crate) fn read_call(
        &self,
        rpc: Rpc,
        identity: Option<Identity>,
        headers: MetadataMap,
        message: Bytes,
    ) -> Result<Call, Status> {
        let head = rewrite::read_head(rpc, &message)?;
        let client_session = parse_handle(&head.session_id)?;
        let user = self.user_of(identity.as_ref(), &head)?;
        Ok(Call {
            rpc,
            message,
            session: SessionId::for_connect(&user, client_session),
            user,
            identity,
            client_session,
            observed: head.observed,
            metadata: onward(&headers),
            headers,
            terms: None,
        })
    }

    fn user_of(&self, identity: Option<&Identity>, head: &Head) -> Result<String, Status> {
        let Some(identity) = identity else {
            return Ok(head.user_id.clone());
        };
        let differs = !head.user_id.is_empty() && head.user_id != identity.user;
        if differs && self.config.forged_user == ForgedUser::Refuse {
            return Err(Status::permission_denied(format!(
                "authenticated as {}, but the request names user {}: leave user_id out of the connection string \
                 or set it to the authenticated user",
                identity.user, head.user_id
            )));
        }
        Ok(identity.user.clone())
    }

    /// Where the session lives; opens it if it is new.
    ///
    /// # Errors
    /// What the client is told: the session is closed or known by another id, or cannot be placed.
    pub(crate) async fn route(&self, call: &Call) -> Result<Route, Status> {
        let route = self.open(call).await?;
        call.check_observed(&route)?;
        Ok(route)
    }

    /// Runs `attempt` on the session's driver, and again on the next one after a loss.
    ///
    /// Only for what may run twice.
    ///
    /// # Errors
    /// The driver's answer, or the reason why the session has no driver.
    pub(crate) async fn on_driver<T, F, A>(&self, mut route: Route, attempt: F) -> Result<(Route, T), Status>
    where
        F: Fn(Route) -> A,
        A: Future<Output = Result<T, Status>>,
    {
        let mut losses = 0;
        loop {
            let status = match attempt(route.clone()).await {
                Ok(done) => return Ok((route, done)),
                Err(status) => status,
            };
            let cause = match Fault::of(status.clone()) {
                Fault::Answer(_) | Fault::NoOperation(_) | Fault::Taken(_) => return Err(status),
                Fault::Lost { cause, .. } => cause,
            };
            losses += 1;
            if losses > MAX_LOSSES_PER_CALL {
                return Err(Status::unavailable(
                    "the session lost its driver again and again; try again later",
                ));
            }
            route = self.lost(&route, cause).await?;
        }
    }

    /// The session's place, after its driver has shown that it serves the session.
    ///
    /// # Errors
    /// As [`Connect::on_driver`].
    pub(crate) async fn proved(&self, route: Route) -> Result<Route, Status> {
        let probe = |route: Route| async move {
            let message = rewrite::request(Rpc::AnalyzePlan, &route, spark_version(), |_| {});
            upstream::unary(&route, Rpc::AnalyzePlan, message, &MetadataMap::new()).await
        };
        let (route, _) = self.on_driver(route, probe).await?;
        Ok(route)
    }

    /// Reports a loss and waits for the session's next place. The same epoch comes back when the driver is still
    /// there.
    ///
    /// # Errors
    /// The reason why the session has no driver.
    pub(crate) async fn lost(&self, route: &Route, cause: Cause) -> Result<Route, Status> {
        let recovered = self.backend.lost(route, cause).await;
        recovered.map_err(|refusal| errors::refused(&refusal, route.record.id))
    }

    /// The session's place; opens it if it is new.
    ///
    /// # Errors
    /// The reason why it has none.
    pub(crate) async fn open(&self, call: &Call) -> Result<Route, Status> {
        let opened = self.backend.open(call.wanted()).await;
        if opened.is_ok() {
            call.note_open();
        }
        opened.map_err(|refusal| match refusal {
            Refusal::Closed => invalid_handle(Handle::SessionClosed, &call.client_session.to_string()),
            other => errors::refused(&other, call.session),
        })
    }
}

/// Runs what has effects outside the session: never a second time once it may have begun.
///
/// # Errors
/// The driver's answer, or that the outcome of `what` is unknown.
pub(crate) async fn once<F, A>(route: Route, what: &str, attempt: F) -> Result<(Route, Bytes), Status>
where
    F: FnOnce(Route) -> A,
    A: Future<Output = Result<Bytes, Status>>,
{
    let status = match attempt(route.clone()).await {
        Ok(answer) => return Ok((route, answer)),
        Err(status) => status,
    };
    match Fault::of(status) {
        Fault::Lost { refused: false, .. } => Err(errors::outcome_unknown(what)),
        Fault::Lost { .. } => Err(Status::unavailable("the session lost its driver; try again")),
        Fault::Answer(status) | Fault::NoOperation(status) | Fault::Taken(status) => Err(status),
    }
}

impl Call {
    /// The same caller about another session of theirs.
    pub(crate) fn for_session(&self, client_session: Uuid) -> Self {
        Self {
            client_session,
            session: SessionId::for_connect(&self.user, client_session),
            observed: None,
            ..self.clone()
        }
    }

    /// As [`Call::for_session`], for a session that another dialect opens on the same terms but for how long it may be
    /// idle.
    pub(crate) fn aside(&self, client_session: Uuid, idle: Duration) -> Self {
        let terms = self.terms.as_deref().map(|terms| {
            Arc::new(Terms {
                is_bound: true,
                was_open: Arc::default(),
                name: Some(inside::name_aside(self.session)),
                lifetime: Lifetime {
                    idle_millis: u64::try_from(idle.as_millis()).unwrap_or(u64::MAX),
                    ..Lifetime::default()
                },
                ..terms.clone()
            })
        });
        Self {
            terms,
            ..self.for_session(client_session)
        }
    }

    /// A session of another dialect, about which nothing is asked yet.
    pub(crate) fn inside(
        user: &str,
        identity: Option<Identity>,
        client_session: Uuid,
        terms: Arc<Terms>,
    ) -> Self {
        Self {
            rpc: Rpc::AnalyzePlan,
            message: Bytes::new(),
            user: user.to_owned(),
            identity,
            client_session,
            session: SessionId::for_connect(user, client_session),
            observed: None,
            headers: MetadataMap::new(),
            metadata: MetadataMap::new(),
            terms: Some(terms),
        }
    }

    /// Another call about the same session.
    pub(crate) fn about(&self, rpc: Rpc, message: Bytes) -> Self {
        Self {
            rpc,
            message,
            metadata: onward(&self.headers),
            ..self.clone()
        }
    }

    /// The session, as it is opened if it is new.
    fn wanted(&self) -> Wanted {
        let tenant = self
            .identity
            .as_ref()
            .and_then(|identity| identity.tenant.clone());
        let plain = || Terms {
            dialect: Dialect::Connect,
            name: None,
            profile: self.header(PROFILE_HEADER),
            confs: BTreeMap::new(),
            lifetime: Lifetime::default(),
            share: None,
            is_bound: false,
            was_open: Arc::default(),
        };
        let terms = self.terms.as_deref().cloned().unwrap_or_else(plain);
        Wanted {
            session: self.session,
            owner: self.user.clone(),
            tenant,
            dialect: terms.dialect,
            work: Work::Session,
            client_id: self.client_session.to_string(),
            name: terms.name,
            profile: terms.profile,
            confs: terms.confs,
            memory_bytes: None,
            lifetime: terms.lifetime,
            share: terms.share,
            is_bound: terms.is_bound,
            was_open: terms.was_open.load(Ordering::Acquire),
        }
    }

    /// Notes that the session was open, where another dialect has to know.
    fn note_open(&self) {
        if let Some(terms) = &self.terms {
            terms.was_open.store(true, Ordering::Release);
        }
    }

    /// True if the session of another dialect was open before.
    pub(super) fn was_open(&self) -> bool {
        self.terms
            .as_ref()
            .is_some_and(|terms| terms.was_open.load(Ordering::Acquire))
    }

    /// A header of the client, if it is text.
    fn header(&self, name: &str) -> Option<String> {
        let value = self.headers.get(name)?.to_str().ok()?;
        Some(value.to_owned())
    }

    /// Checks that the client knows the session by the id that it was shown.
    fn check_observed(&self, route: &Route) -> Result<(), Status> {
        let Some(observed) = &self.observed else {
            return Ok(());
        };
        if *observed == route.record.server_session_id.to_string() {
            Ok(())
        } else {
            Err(invalid_handle(
                Handle::SessionChanged,
                &self.client_session.to_string(),
            ))
        }
    }
}

/// Reads a session or operation id. Spark takes the hyphenated form only.
///
/// # Errors
/// INVALID_HANDLE.FORMAT.
pub(crate) fn parse_handle(text: &str) -> Result<Uuid, Status> {
    let parsed = if text.len() == 36 {
        Uuid::try_parse(text).ok()
    } else {
        None
    };
    parsed.ok_or_else(|| invalid_handle(Handle::Format, text))
}

/// The cheapest question that a driver answers: an AnalyzePlan of its version.
pub(crate) fn spark_version() -> Bytes {
    // Field 10, an empty message.
    Bytes::from_static(&[0x52, 0x00])
}

/// What the driver sees of a client's headers; with traces, its calls are part of this broker's.
fn onward(headers: &MetadataMap) -> MetadataMap {
    let mut passed = upstream::pass_on(headers);
    trace::pass_on(&tracing::Span::current(), passed.as_mut());
    passed
}
