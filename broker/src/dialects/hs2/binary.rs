//! Connections of Thrift's binary protocol: with SASL or without, told apart by their first byte.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use berth_runtime::auth::Authenticator;
use berth_runtime::listen::{Protocol, Stream};
use berth_runtime::tasks::Shutdown;
use bytes::Buf as _;
use tokio::io::{AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::time::Instant;

use super::calls::Client;
use super::inbound::{Ended, Inbound};
use super::wire;
use super::{Hs2, caller, sasl};
use crate::calls::Calls;
use crate::dialects::sql::failure::Failure;
use crate::dialects::sql::{Caller, Reach};

/// A login is over within this time.
const LOGIN_DEADLINE: Duration = Duration::from_secs(10);
/// A client takes an answer within this time.
const WRITE_DEADLINE: Duration = Duration::from_secs(600);
/// A silence without a limit.
const FOR_EVER: Duration = Duration::from_secs(u32::MAX as u64);
/// Largest message of somebody who is not known yet.
const UNKNOWN_BYTES: usize = 1 << 20;
/// What is said when there is no room for one more call.
const FULL: &str = "this broker serves as many calls as it may (broker.max-calls); try again";

/// What is said to who opens a session while the broker ends.
const ENDS: &str = "this broker is about to end; connect again, which leads to another one";

/// The door for connections that are not HTTP.
#[derive(Debug)]
pub struct Door {
    hs2: Arc<Hs2>,
    authenticator: Authenticator,
    calls: Calls,
}

type Reading = Inbound<ReadHalf<Box<dyn Stream>>>;
type Writing = WriteHalf<Box<dyn Stream>>;

impl Protocol for Door {
    fn begins_with(&self, byte: u8) -> bool {
        // SASL's start; Thrift's strict head; the length of a method's name in its old one.
        matches!(byte, 0x01 | 0x80 | 0x00)
    }

    fn serve(
        self: Arc<Self>,
        stream: Box<dyn Stream>,
        shutdown: Shutdown,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            if let Err(error) = self.talk(stream, &shutdown).await {
                tracing::debug!(dialect = "hs2", %error, "a connection ended");
            }
        })
    }
}

impl Door {
    pub(super) fn new(hs2: Arc<Hs2>, authenticator: Authenticator, calls: Calls) -> Self {
        Self {
            hs2,
            authenticator,
            calls,
        }
    }

    async fn talk(&self, stream: Box<dyn Stream>, shutdown: &Shutdown) -> Result<(), Ended> {
        let (read, mut write) = tokio::io::split(stream);
        let mut inbound = Inbound::new(read, UNKNOWN_BYTES);
        let login = tokio::time::timeout(LOGIN_DEADLINE, self.log_in(&mut inbound, &mut write));
        let Some(login) = login.await.unwrap_or(Err(Ended::Silent))? else {
            return Ok(());
        };
        let framed = matches!(login, Login::Sasl(_));
        inbound.begin(framed);
        let mut client = Client {
            caller: match login {
                Login::Sasl(caller) => Some(caller),
                // Where nobody is asked, handles of other connections are good without a name.
                Login::None => (!self.authenticator.is_checking()).then(Caller::default),
            },
            proxy_user: None,
            opened: Vec::new(),
            reach: Reach::Here,
        };
        let ended = self
            .converse(&mut inbound, &mut write, &mut client, framed, shutdown)
            .await;
        if self.hs2.config.close_on_disconnect {
            self.close(&client).await;
        }
        ended
    }

    async fn close(&self, client: &Client) {
        for id in &client.opened {
            // They were opened here, maybe in several names.
            if let Ok(session) = self.hs2.engine.session(*id, &Caller::default()) {
                self.hs2.engine.close(&session).await;
            }
        }
    }

    async fn converse(
        &self,
        inbound: &mut Reading,
        write: &mut Writing,
        client: &mut Client,
        framed: bool,
        shutdown: &Shutdown,
    ) -> Result<(), Ended> {
        let mut goes_at = None;
        loop {
            if client.caller.as_ref().is_some_and(|caller| caller.user.is_some()) || !client.opened.is_empty()
            {
                inbound.allow(self.hs2.config.max_message_bytes);
            }
            let message = tokio::select! {
                message = inbound.next(self.silence(client)) => message?,
                () = self.has_to_go(client, shutdown, &mut goes_at) => return Ok(()),
            };
            let Some(message) = message else { return Ok(()) };
            let call = wire::read(&message)?;
            if call.name == "OpenSession" && shutdown.is_draining() {
                let answer = self.hs2.refuse(&call, &Failure::passing(ENDS));
                send(write, &answer, framed).await?;
                return Ok(());
            }
            let Some(answer) = self.answer(inbound, client, &call).await else {
                return Ok(());
            };
            let sent = tokio::time::timeout(WRITE_DEADLINE, send(write, &answer, framed));
            sent.await
                .unwrap_or_else(|_late| Err(std::io::ErrorKind::TimedOut.into()))?;
        }
    }

    /// How long a client may be silent: as long as one of its sessions may be idle.
    fn silence(&self, client: &Client) -> Duration {
        let usual = Duration::from_secs(self.hs2.engine.config.session_idle_seconds);
        let sessions = client.opened.iter().filter_map(|id| self.hs2.engine.peek(*id));
        let limits = sessions.filter_map(|session| session.opening.idle);
        longest(std::iter::once(usual).chain(limits))
    }

    /// Waits until the broker is told to end, and then until the client has no session any more or its time is over.
    async fn has_to_go(&self, client: &Client, shutdown: &Shutdown, goes_at: &mut Option<Instant>) {
        shutdown.draining().await;
        let patience = Duration::from_secs(self.hs2.config.drain_seconds);
        let goes_at = *goes_at.get_or_insert_with(|| Instant::now() + patience);
        if client.opened.iter().any(|id| self.hs2.engine.peek(*id).is_some()) {
            tokio::time::sleep_until(goes_at).await;
        }
    }

    /// The answer to a call; `None` when the client has left meanwhile.
    async fn answer(
        &self,
        inbound: &mut Reading,
        client: &mut Client,
        call: &wire::Message<'_>,
    ) -> Option<Vec<u8>> {
        let Some(_place) = self.calls.enter("hs2") else {
            return Some(wire::exception(call, wire::Exception::Internal, FULL));
        };
        let login = |user: &str, password: &str| {
            let identity = self.authenticator.named(user, password);
            identity.and_then(|identity| caller(identity).ok())
        };
        // What opens a session is not left half-way: its client would not know the session.
        let is_opening = call.name == "OpenSession";
        let answered = self.hs2.answer(client, &login, call);
        if is_opening {
            return Some(answered.await);
        }
        tokio::select! {
            answer = answered => Some(answer),
            () = inbound.gone() => None,
        }
    }

    /// Finds out who it is, where that is said before the first call. `None` when the client left or was refused.
    async fn log_in(&self, inbound: &mut Reading, write: &mut Writing) -> Result<Option<Login>, Ended> {
        match inbound.first().await? {
            None => return Ok(None),
            Some(0x01) => {}
            Some(_) => return Ok(Some(Login::None)),
        }
        let refused = match self.exchange(inbound).await? {
            None => return Ok(None),
            Some(Ok(caller)) => {
                write
                    .write_all(&sasl::message(sasl::Status::Complete, b""))
                    .await?;
                write.flush().await?;
                return Ok(Some(Login::Sasl(caller)));
            }
            Some(Err(refused)) => refused,
        };
        metrics::counter!("berth_authentication_refusals_total", "listener" => "hs2").increment(1);
        let text = refused.to_string();
        write
            .write_all(&sasl::message(sasl::Status::Bad, text.as_bytes()))
            .await?;
        write.shutdown().await?;
        Ok(None)
    }

    /// The messages of the login.
    async fn exchange(&self, inbound: &mut Reading) -> Result<Option<Result<Caller, sasl::Refused>>, Ended> {
        let mechanism = match self.login_message(inbound).await? {
            None => return Ok(None),
            Some(Err(refused)) => return Ok(Some(Err(refused))),
            Some(Ok(payload)) => payload,
        };
        if let Err(refused) = sasl::mechanism(&mechanism) {
            return Ok(Some(Err(refused)));
        }
        let response = match self.login_message(inbound).await? {
            None => return Ok(None),
            Some(Err(refused)) => return Ok(Some(Err(refused))),
            Some(Ok(payload)) => payload,
        };
        Ok(Some(sasl::plain(&response).and_then(|plain| self.admit(&plain))))
    }

    fn admit(&self, plain: &sasl::Plain) -> Result<Caller, sasl::Refused> {
        let identity = self.authenticator.named(&plain.user, &plain.password);
        let known = identity.and_then(|identity| caller(identity).ok());
        let mut known = known.ok_or(sasl::Refused::Login)?;
        // A login without a name is one all the same: the call that opens a session names nobody else.
        known.user.get_or_insert_with(|| "anonymous".to_owned());
        Ok(known)
    }

    async fn login_message(
        &self,
        inbound: &mut Reading,
    ) -> Result<Option<Result<bytes::Bytes, sasl::Refused>>, Ended> {
        let Some(head) = inbound.exactly(sasl::HEAD_BYTES).await? else {
            return Ok(None);
        };
        let head: [u8; sasl::HEAD_BYTES] = head.first_chunk().copied().unwrap_or_default();
        match sasl::head(head) {
            Err(refused) => Ok(Some(Err(refused))),
            Ok((_, length)) => Ok(inbound.exactly(length).await?.map(Ok)),
        }
    }
}

/// How a client has logged in.
enum Login {
    /// As somebody.
    Sasl(Caller),
    /// Not yet.
    None,
}

/// Sends an answer with its length in one go: a client that waits would be woken by the length alone.
async fn send(write: &mut Writing, answer: &[u8], framed: bool) -> std::io::Result<()> {
    let length = u32::try_from(answer.len()).map_err(std::io::Error::other)?;
    let length = length.to_be_bytes();
    let head: &[u8] = if framed { &length } else { &[] };
    write.write_all_buf(&mut head.chain(answer)).await?;
    write.flush().await
}

/// The longest of some limits, of which none is one: 0.
fn longest(limits: impl Iterator<Item = Duration>) -> Duration {
    let none = |limit: Duration| if limit.is_zero() { FOR_EVER } else { limit };
    limits.map(none).max().unwrap_or(FOR_EVER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_may_be_silent_for_as_long_as_its_sessions() {
        // hs2#43
        let of = |seconds: &[u64]| longest(seconds.iter().copied().map(Duration::from_secs));
        assert_eq!(of(&[60]), Duration::from_secs(60));
        assert_eq!(of(&[60, 90, 5]), Duration::from_secs(90));
        assert_eq!(of(&[60, 0]), FOR_EVER);
    }
}
