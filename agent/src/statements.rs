//! Code statements: durable on the node before they are acknowledged, run once, kept until their session is over.
//!
//! The driver host runs a statement that it is given again not a second time. So whatever may have got lost is
//! simply sent again when a host connects: [`Statements::unfinished`].

mod disk;
pub(crate) mod leftover;
mod statement;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use berth_core::ids::{DriverId, Epoch, SessionId};
use tokio::sync::watch;

use crate::control::frames::{Finished, Progress, ToHost};
pub(crate) use statement::{Head, State, Statement, StatementId};

/// Statements of a session that may wait or run at once.
const MAX_UNFINISHED: usize = 32;
/// Statements that are kept of one epoch of a session.
const MAX_STATEMENTS: usize = 10_000;
/// Longest code.
pub(crate) const MAX_CODE_BYTES: usize = 1 << 20;

/// Why a statement is not taken or not found.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StatementError {
    #[error(
        "a statement id is 1 to 64 letters, digits, '.', '_' or '-', and the code at most {MAX_CODE_BYTES} bytes"
    )]
    Invalid,
    #[error("the session has {MAX_UNFINISHED} unfinished statements; wait for one to end")]
    TooManyUnfinished,
    #[error("the session has run {MAX_STATEMENTS} statements; open a new one")]
    TooMany,
    #[error("no such statement of this epoch")]
    Unknown,
    #[error("the driver was lost while the statement ran")]
    DriverLost,
    #[error("the driver was lost before the statement began")]
    NeverBegan,
    #[error("the statement cannot be kept on disk: {0}")]
    Disk(#[from] std::io::Error),
}

/// Where a statement belongs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) session: SessionId,
    pub(crate) epoch: Epoch,
    pub(crate) id: StatementId,
}

#[derive(Debug)]
struct Entry {
    driver: DriverId,
    /// Order of arrival on this node.
    order: u64,
    kind: String,
    /// Empty once it has ended: an epoch may have thousands.
    code: Mutex<String>,
    cancel: AtomicBool,
    head: watch::Sender<Head>,
}

#[derive(Debug, Default)]
struct Book {
    entries: BTreeMap<Key, Arc<Entry>>,
    next: u64,
}

/// The statements of a node.
#[derive(Debug)]
pub(crate) struct Statements {
    root: PathBuf,
    book: Mutex<Book>,
    /// One start at a time: a second call with the same id must find the first, on disk.
    starting: tokio::sync::Mutex<()>,
}

impl Statements {
    /// The statements below `root`; none if they are not to be adopted.
    pub(crate) fn open(root: PathBuf, adopt: bool) -> std::io::Result<Self> {
        let mut book = Book::default();
        if adopt {
            for (key, statement) in disk::read_all(&root) {
                book.next = book.next.max(statement.order + 1);
                let entry = Entry::of(&statement);
                // An earlier run of the agent may have let it begin.
                entry.head.send_if_modified(Head::begin);
                book.entries.insert(key, Arc::new(entry));
            }
        } else {
            disk::remove(&root)?;
        }
        Ok(Self {
            root,
            book: Mutex::new(book),
            starting: tokio::sync::Mutex::new(()),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn entry(&self, key: &Key) -> Result<Arc<Entry>, StatementError> {
        let entry = self.lock().entries.get(key).cloned();
        entry.ok_or(StatementError::Unknown)
    }

    /// Takes a statement. Durable when this returns; what is to be told to the host is given back. A statement that
    /// is known already is not taken again.
    pub(crate) async fn start(
        &self,
        key: &Key,
        driver: DriverId,
        kind: &str,
        code: &str,
    ) -> Result<Option<ToHost>, StatementError> {
        if code.len() > MAX_CODE_BYTES {
            return Err(StatementError::Invalid);
        }
        let _one = self.starting.lock().await;
        let Some(order) = self.admit(key)? else {
            return Ok(None);
        };
        let statement = Statement::new(key, driver, order, kind, code);
        disk::write(&self.root, key, &statement).await?;
        let run = statement.run();
        let entry = Arc::new(Entry::of(&statement));
        self.lock().entries.insert(key.clone(), entry);
        Ok(Some(run))
    }

    /// The order of a new statement; `None` if it is known.
    fn admit(&self, key: &Key) -> Result<Option<u64>, StatementError> {
        let mut book = self.lock();
        if book.entries.contains_key(key) {
            return Ok(None);
        }
        let of_epoch = book.of_epoch(key.session, key.epoch);
        let (mut all, mut unfinished) = (0, 0);
        for entry in of_epoch {
            all += 1;
            unfinished += usize::from(!entry.head.borrow().state.has_ended());
        }
        if unfinished >= MAX_UNFINISHED {
            return Err(StatementError::TooManyUnfinished);
        }
        if all >= MAX_STATEMENTS {
            return Err(StatementError::TooMany);
        }
        book.next += 1;
        Ok(Some(book.next))
    }

    /// True of a statement that was taken.
    pub(crate) fn knows(&self, key: &Key) -> bool {
        self.lock().entries.contains_key(key)
    }

    /// A statement as it is now, or as soon as it has ended within `wait`.
    pub(crate) async fn get(&self, key: &Key, wait: Duration) -> Result<Statement, StatementError> {
        let entry = self.entry(key)?;
        let mut head = entry.head.subscribe();
        // Late is an answer too: the statement as it is.
        drop(tokio::time::timeout(wait, head.wait_for(|head| head.state.has_ended())).await);
        let head = head.borrow().clone();
        match head.state {
            State::Lost => Err(StatementError::DriverLost),
            // It was to be stopped, and is: it must not begin elsewhere.
            State::NeverBegan if entry.cancel.load(Ordering::Acquire) => {
                let stopped = Head {
                    state: State::Cancelled,
                    ..head
                };
                Ok(Statement::unfinished(key, &entry.kind, stopped, false))
            }
            State::NeverBegan => Err(StatementError::NeverBegan),
            State::Waiting | State::Running => {
                let cancelling = entry.cancel.load(Ordering::Acquire);
                Ok(Statement::unfinished(key, &entry.kind, head, cancelling))
            }
            State::Ok | State::Error | State::Cancelled => Ok(disk::read(&self.root, key).await?),
        }
    }

    /// Asks a statement to stop; what is to be told to its host is given back with the driver.
    pub(crate) fn cancel(&self, key: &Key) -> Result<(DriverId, ToHost), StatementError> {
        let entry = self.entry(key)?;
        entry.cancel.store(true, Ordering::Release);
        Ok((
            entry.driver,
            ToHost::Cancel {
                id: key.id.to_string(),
            },
        ))
    }

    /// Everything that a driver's host must know when it connects, oldest first.
    pub(crate) fn unfinished(&self, driver: DriverId) -> Vec<ToHost> {
        let book = self.lock();
        let open = |entry: &Entry| entry.driver == driver && !entry.head.borrow().state.has_ended();
        let mut found: Vec<_> = book.entries.iter().filter(|(_, entry)| open(entry)).collect();
        found.sort_by_key(|(_, entry)| entry.order);
        let frames = |(key, entry): &(&Key, &Arc<Entry>)| {
            let id = key.id.to_string();
            let cancel = entry.cancel.load(Ordering::Acquire);
            let run = ToHost::Run {
                id: id.clone(),
                kind: entry.kind.clone(),
                code: entry.code().clone(),
            };
            [Some(run), cancel.then_some(ToHost::Cancel { id })]
        };
        found.iter().flat_map(frames).flatten().collect()
    }

    /// A host wants to run a statement that is next. False if it must not.
    pub(crate) fn begin(&self, driver: DriverId, id: &str) -> bool {
        let Some((_, entry)) = self.of_driver(driver, id) else {
            return false;
        };
        let mut may = false;
        entry.head.send_modify(|head| may = head.begin());
        may
    }

    /// A statement has begun or got on.
    pub(crate) fn progressed(&self, driver: DriverId, progress: &Progress) {
        if let Some((_, entry)) = self.of_driver(driver, &progress.id) {
            entry.head.send_if_modified(|head| head.progressed(progress));
        }
    }

    /// A statement has ended. Its result is durable when this returns.
    pub(crate) async fn finish(&self, driver: DriverId, result: Finished) -> std::io::Result<()> {
        let Some((key, entry)) = self.of_driver(driver, &result.id) else {
            return Ok(());
        };
        if entry.head.borrow().state.has_ended() {
            return Ok(());
        }
        let head = Head::of(&result);
        let statement = Statement::finished(&key, &entry.kind, entry.order, driver, result);
        disk::write(&self.root, &key, &statement).await?;
        entry.head.send_replace(head);
        *entry.code() = String::new();
        Ok(())
    }

    /// A driver has ended: what it had not finished is lost.
    pub(crate) fn driver_ended(&self, driver: DriverId) {
        for entry in self
            .lock()
            .entries
            .values()
            .filter(|entry| entry.driver == driver)
        {
            entry.head.send_if_modified(Head::lose);
        }
    }

    /// Drivers that unfinished statements wait for.
    pub(crate) fn awaited(&self) -> Vec<DriverId> {
        let book = self.lock();
        let open = book
            .entries
            .values()
            .filter(|entry| !entry.head.borrow().state.has_ended());
        open.map(|entry| entry.driver).collect()
    }

    /// Forgets everything of a session.
    pub(crate) async fn forget(&self, session: SessionId) -> std::io::Result<()> {
        let known = {
            let mut book = self.lock();
            let before = book.entries.len();
            book.entries.retain(|key, _| key.session != session);
            before != book.entries.len()
        };
        if known {
            disk::forget(&self.root, session).await
        } else {
            Ok(())
        }
    }

    /// Statements of an ended epoch whose id is given by a driver that had that epoch.
    fn of_driver(&self, driver: DriverId, id: &str) -> Option<(Key, Arc<Entry>)> {
        let book = self.lock();
        let mut found = book.entries.iter();
        let (key, entry) = found.find(|(key, entry)| entry.driver == driver && key.id.as_str() == id)?;
        Some((key.clone(), Arc::clone(entry)))
    }
}

impl Book {
    fn of_epoch(&self, session: SessionId, epoch: Epoch) -> impl Iterator<Item = &Arc<Entry>> {
        let first = Key {
            session,
            epoch,
            id: StatementId::FIRST,
        };
        let same = move |(key, _): &(&Key, &Arc<Entry>)| key.session == session && key.epoch == epoch;
        self.entries
            .range(first..)
            .take_while(same)
            .map(|(_, entry)| entry)
    }
}

impl Entry {
    fn code(&self) -> MutexGuard<'_, String> {
        self.code.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of(statement: &Statement) -> Self {
        Self {
            driver: statement.driver,
            order: statement.order,
            kind: statement.kind.clone(),
            code: Mutex::new(statement.code.clone()),
            cancel: AtomicBool::new(false),
            head: watch::channel(statement.head.clone()).0,
        }
    }
}
