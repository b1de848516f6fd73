//! Where rows wait that their client has not fetched yet: in memory within one budget, on disk within another.
//!
//! Both budgets are the broker's. Files have no name once they are open, so that nothing of them outlives the broker;
//! each grows to [`CHUNK_BYTES`] and is gone with the last piece of rows in it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

/// How large a file becomes before the next one is begun.
const CHUNK_BYTES: u64 = 32 << 20;
/// Bytes of the file system that are left to others.
const LEFT_FREE: u64 = 1 << 30;

/// An amount that many take from.
#[derive(Debug)]
pub(crate) struct Budget {
    most: u64,
    used: AtomicU64,
}

impl Budget {
    /// A budget of `most` bytes.
    pub(crate) fn new(most: u64) -> Arc<Self> {
        let used = AtomicU64::new(0);
        Arc::new(Self { most, used })
    }

    /// Bytes that are taken.
    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Takes so many bytes if they are there.
    pub(crate) fn try_hold(self: &Arc<Self>, bytes: u64) -> Option<Held> {
        let take = |used: u64| used.checked_add(bytes).filter(|used| *used <= self.most);
        let taken = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        taken.ok().map(|_before| self.held(bytes))
    }

    /// Takes so many bytes even if they are not there.
    pub(crate) fn hold(self: &Arc<Self>, bytes: u64) -> Held {
        self.used.fetch_add(bytes, Ordering::Relaxed);
        self.held(bytes)
    }

    fn held(self: &Arc<Self>, bytes: u64) -> Held {
        let budget = Arc::clone(self);
        Held { budget, bytes }
    }
}

/// Bytes of a budget, given back on drop.
#[derive(Debug)]
pub(crate) struct Held {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// The budgets of a broker, and where its files are.
#[derive(Debug)]
pub(crate) struct Spool {
    directory: PathBuf,
    /// Memory for rows of all operations.
    pub(crate) memory: Arc<Budget>,
    disk: Arc<Budget>,
    operation_bytes: u64,
}

impl Spool {
    /// A spool in `directory`, which is made when it is needed, of `memory` bytes in memory and `disk` bytes in files,
    /// of which one operation has `operation` at most.
    pub(crate) fn new(directory: PathBuf, memory: u64, disk: u64, operation: u64) -> Arc<Self> {
        Arc::new(Self {
            directory,
            memory: Budget::new(memory),
            disk: Budget::new(disk),
            operation_bytes: operation,
        })
    }

    /// Bytes in files.
    pub(crate) fn disk_bytes(&self) -> u64 {
        self.disk.used()
    }

    /// Where one operation writes.
    pub(crate) fn writer(self: &Arc<Self>) -> Writer {
        Writer {
            spool: Arc::clone(self),
            own: Budget::new(self.operation_bytes),
            chunk: None,
            is_broken: false,
        }
    }

    /// A file of no name, if the file system has room.
    fn file(&self) -> io::Result<File> {
        std::fs::create_dir_all(&self.directory)?;
        let room = rustix::fs::statvfs(&self.directory)?;
        let free = room.f_bavail.saturating_mul(room.f_frsize);
        if free < LEFT_FREE + CHUNK_BYTES {
            return Err(io::Error::new(
                io::ErrorKind::StorageFull,
                format!("{free} bytes are free, and 1 GiB is left to others"),
            ));
        }
        tempfile::tempfile_in(&self.directory)
    }
}

#[derive(Debug)]
struct Chunk {
    file: File,
    /// What its pieces take of the budgets.
    held: Mutex<Vec<Held>>,
}

/// Rows in a file.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    chunk: Arc<Chunk>,
    offset: u64,
    length: usize,
}

impl Stored {
    /// Reads them.
    ///
    /// # Errors
    /// The file system's.
    pub(crate) async fn read(&self) -> io::Result<Bytes> {
        let stored = self.clone();
        blocking(move || {
            let mut data = vec![0; stored.length];
            stored.chunk.file.read_exact_at(&mut data, stored.offset)?;
            Ok(Bytes::from(data))
        })
        .await
    }
}

/// The files of one operation.
#[derive(Debug)]
pub(crate) struct Writer {
    spool: Arc<Spool>,
    own: Arc<Budget>,
    /// The file that grows, and how far it is.
    chunk: Option<(Arc<Chunk>, u64)>,
    is_broken: bool,
}

impl Writer {
    /// Writes rows down; `None` when there is no room for them, in the budgets or in the file system. Cancel-safe:
    /// what was not told is written over.
    pub(crate) async fn write(&mut self, data: Bytes) -> Option<Stored> {
        let length = data.len() as u64;
        let held = (self.own.try_hold(length), self.spool.disk.try_hold(length));
        let (false, (Some(own), Some(shared))) = (self.is_broken, held) else {
            return None;
        };
        match self.append(data, [own, shared]).await {
            Ok(stored) => Some(stored),
            Err(error) => {
                // Its driver keeps what has no room here.
                let directory = self.spool.directory.display();
                tracing::warn!(%directory, %error, "rows cannot be kept on disk; a slow client holds up its driver");
                self.is_broken = true;
                self.chunk = None;
                None
            }
        }
    }

    async fn append(&mut self, data: Bytes, held: [Held; 2]) -> io::Result<Stored> {
        let length = data.len();
        let (chunk, offset) = self.place(length as u64).await?;
        let file = Arc::clone(&chunk);
        blocking(move || file.file.write_all_at(&data, offset)).await?;
        chunk
            .held
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(held);
        self.chunk = Some((Arc::clone(&chunk), offset + length as u64));
        Ok(Stored {
            chunk,
            offset,
            length,
        })
    }

    /// The file and the offset for so many bytes.
    async fn place(&mut self, length: u64) -> io::Result<(Arc<Chunk>, u64)> {
        if let Some((chunk, end)) = &self.chunk
            && end + length <= CHUNK_BYTES
        {
            return Ok((Arc::clone(chunk), *end));
        }
        self.chunk = None;
        let spool = Arc::clone(&self.spool);
        let file = blocking(move || spool.file()).await?;
        let held = Mutex::default();
        Ok((Arc::new(Chunk { file, held }), 0))
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(io::Error::other(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNK: usize = 32 << 20;

    fn spool(disk: u64, operation: u64) -> (tempfile::TempDir, Arc<Spool>) {
        let directory = tempfile::tempdir().unwrap();
        let spool = Spool::new(directory.path().join("spool"), 100, disk, operation);
        (directory, spool)
    }

    #[tokio::test]
    async fn what_is_written_is_read_and_its_room_comes_back() {
        let (directory, spool) = spool(4 * CHUNK_BYTES, 4 * CHUNK_BYTES);
        let mut writer = spool.writer();
        let mut stored = Vec::new();
        for byte in 0..5_u8 {
            let data = Bytes::from(vec![byte; CHUNK / 2]);
            stored.push(writer.write(data).await.unwrap());
        }
        for (byte, piece) in (0..5_u8).zip(&stored) {
            let data = piece.read().await.unwrap();
            assert_eq!(data.len() as u64, CHUNK_BYTES / 2);
            assert!(data.iter().all(|found| *found == byte));
        }
        let listing = std::fs::read_dir(directory.path().join("spool")).unwrap();
        assert_eq!(listing.count(), 0, "a file had a name");
        assert_eq!(spool.disk_bytes(), 5 * CHUNK_BYTES / 2);
        stored.remove(0);
        assert_eq!(
            spool.disk_bytes(),
            5 * CHUNK_BYTES / 2,
            "a file that is half needed is there"
        );
        stored.remove(0);
        assert_eq!(spool.disk_bytes(), 3 * CHUNK_BYTES / 2);
        drop((writer, stored));
        assert_eq!(spool.disk_bytes(), 0);
    }

    #[tokio::test]
    async fn i8_neither_one_operation_nor_all_of_them_take_more_than_their_bounds() {
        let (_directory, spool) = spool(3 * CHUNK_BYTES, 2 * CHUNK_BYTES);
        let whole = || Bytes::from(vec![0; CHUNK]);
        let (mut one, mut other) = (spool.writer(), spool.writer());
        let kept = (one.write(whole()).await, one.write(whole()).await);
        assert!(kept.0.is_some() && kept.1.is_some());
        assert!(one.write(whole()).await.is_none(), "its own bound");
        let others = other.write(whole()).await;
        assert!(others.is_some());
        assert!(other.write(whole()).await.is_none(), "everybody's bound");
        drop((kept, one));
        assert!(other.write(whole()).await.is_some());
    }

    #[tokio::test]
    async fn a_directory_that_cannot_be_used_means_no_room() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let spool = Spool::new(file.path().join("spool"), 100, 1 << 40, 1 << 40);
        let mut writer = spool.writer();
        assert!(writer.write(Bytes::from_static(b"x")).await.is_none());
        assert_eq!(spool.disk_bytes(), 0);
    }

    #[test]
    fn i8_a_budget_is_kept_but_where_more_is_forced() {
        let budget = Budget::new(10);
        let held = budget.try_hold(6).unwrap();
        assert!(budget.try_hold(5).is_none());
        let forced = budget.hold(20);
        assert_eq!(budget.used(), 26);
        drop((held, forced));
        assert_eq!(budget.used(), 0);
        assert!(budget.try_hold(u64::MAX).is_none());
    }
}
