//! The members of etcd: one in use at a time, the next after a failure, with bounded retries.
//!
//! The client library can balance over members itself, but keeps using dead ones and connections that fell silent.

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use etcd_client::{Client, ConnectOptions, Error, KvClient, LeaseClient, WatchClient};

use super::fault::Fault;
use crate::backoff::Backoff;

/// Tries of one call. With pauses they span about a second, which an election of etcd's leader takes.
const TRIES: usize = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(25);
const LONGEST_PAUSE: Duration = Duration::from_millis(400);
/// So many tries in a row without an answer, and the connection is given up for a new one.
const SILENT_TRIES: u32 = 3;
/// Largest answer taken. A page of 5,000 records is some 10 MiB.
const ANSWER_BYTES: usize = 64 << 20;

/// May a call be sent again when nobody knows whether it had its effect?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    /// Yes: twice is as good as once.
    Freely,
    /// No.
    IfNotApplied,
}

/// The parts of a connection.
#[derive(Clone)]
pub(super) struct Clients {
    pub(super) kv: KvClient,
    pub(super) lease: LeaseClient,
    pub(super) watch: WatchClient,
}

#[derive(Default)]
struct Connection {
    clients: Option<Clients>,
    silent_tries: u32,
}

struct Member {
    url: String,
    connection: Mutex<Connection>,
}

/// All members.
pub(super) struct Members {
    members: Vec<Member>,
    current: AtomicUsize,
    options: ConnectOptions,
    timeout: Duration,
}

impl std::fmt::Debug for Members {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The options hold a password.
        let urls: Vec<_> = self.members.iter().map(|member| &member.url).collect();
        f.debug_struct("Members")
            .field("urls", &urls)
            .finish_non_exhaustive()
    }
}

impl Members {
    /// Members at `urls`, at least one, not connected yet.
    pub(super) fn new(urls: &[String], options: ConnectOptions, timeout: Duration) -> Self {
        let member = |url: &String| Member {
            url: url.clone(),
            connection: Mutex::default(),
        };
        // Not all clients should begin with the same member.
        let first = rand::random_range(0..urls.len().max(1));
        Self {
            members: urls.iter().map(member).collect(),
            current: AtomicUsize::new(first),
            options,
            timeout,
        }
    }

    /// Calls etcd, again if that is allowed and may help, with a deadline for each try.
    pub(super) async fn call<T, F, C>(&self, repeat: Repeat, call: C) -> Result<T, Fault>
    where
        C: Fn(Clients) -> F + Send + Sync,
        F: Future<Output = Result<T, Error>> + Send,
        T: Send,
    {
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        let mut tries = 1;
        loop {
            let fault = match self.attempt(&call).await {
                Ok(answer) => return Ok(answer),
                Err(fault) => fault,
            };
            let again = match fault {
                Fault::NotApplied(_) => true,
                Fault::Lost(_) => repeat == Repeat::Freely,
                _ => false,
            };
            if !again || tries == TRIES {
                return Err(fault);
            }
            metrics::counter!("berth_store_retries_total").increment(1);
            tries += 1;
            backoff.pause().await;
        }
    }

    /// One try, at the current member. A failure of the member makes the next one current.
    async fn attempt<T, F, C>(&self, call: &C) -> Result<T, Fault>
    where
        C: Fn(Clients) -> F + Send + Sync,
        F: Future<Output = Result<T, Error>> + Send,
    {
        let at = self.current.load(Ordering::Relaxed);
        let member = &self.members[at % self.members.len()];
        let clients = match self.clients(member).await {
            Ok(clients) => clients,
            Err(fault) => {
                self.turn(at);
                return Err(fault);
            }
        };
        let answer = match tokio::time::timeout(self.timeout, call(clients)).await {
            Ok(answer) => {
                member.lock().silent_tries = 0;
                answer.map_err(Fault::from)
            }
            Err(elapsed) => {
                member.silent();
                Err(Fault::Lost(format!("{}: {elapsed}", member.url)))
            }
        };
        if let Err(Fault::NotApplied(_) | Fault::Lost(_)) = &answer {
            self.turn(at);
        }
        answer
    }

    /// Goes on to the member after `at`, unless another call has done so.
    fn turn(&self, at: usize) {
        let next = at.wrapping_add(1);
        let turned = self
            .current
            .compare_exchange(at, next, Ordering::Relaxed, Ordering::Relaxed);
        if turned.is_ok() && self.members.len() > 1 {
            tracing::debug!(from = %self.members[at % self.members.len()].url, "going on to the next etcd member");
        }
    }

    async fn clients(&self, member: &Member) -> Result<Clients, Fault> {
        if let Some(clients) = member.lock().clients.clone() {
            return Ok(clients);
        }
        let connecting = Client::connect([member.url.as_str()], Some(self.options.clone()));
        let client = match tokio::time::timeout(self.timeout, connecting).await {
            Ok(connected) => connected.map_err(|error| not_applied(Fault::from(error)))?,
            Err(elapsed) => return Err(Fault::NotApplied(format!("{}: {elapsed}", member.url))),
        };
        let clients = Clients {
            kv: client.kv_client().max_decoding_message_size(ANSWER_BYTES),
            lease: client.lease_client(),
            watch: client.watch_client().max_decoding_message_size(ANSWER_BYTES),
        };
        let mut connection = member.lock();
        connection.silent_tries = 0;
        connection.clients = Some(clients.clone());
        Ok(clients)
    }
}

/// Only signing in happened, not the call itself.
fn not_applied(fault: Fault) -> Fault {
    match fault {
        Fault::Lost(reason) => Fault::NotApplied(reason),
        other => other,
    }
}

impl Member {
    /// The lock is held for a look-up or an exchange, which cannot be left half-done.
    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a try without an answer. A connection over which nothing comes back any more is dropped.
    fn silent(&self) {
        let mut connection = self.lock();
        connection.silent_tries += 1;
        if connection.silent_tries >= SILENT_TRIES {
            *connection = Connection::default();
            metrics::counter!("berth_store_reconnects_total").increment(1);
            tracing::info!(url = %self.url, "etcd does not answer, connecting anew");
        }
    }
}
