//! SQL for dialects that translate: sessions, statements and the catalog, over Spark Connect in this process.
//!
//! The engine knows nothing of Thrift or REST. A session of it is a session of [`super::connect`], so that what was
//! set, used and created in it is back after a loss, a read goes on where it was, and a write is never run twice.
//!
//! | module | what |
//! |---|---|
//! | `engine` | the sessions of a broker, and what runs in them |
//! | `opening` | what a client asks for when it opens a session |
//! | `session`, `operation` | their lives |
//! | `aside` | settings for one statement alone |
//! | `buffer`, `spool` | rows that are not fetched yet, in memory and on disk |
//! | `cursor` | a client's place among them |
//! | `directory` | sessions that any broker serves |
//! | `place`, `peers` | which broker an operation runs at, and how that one is called |
//! | `plan`, `whole` | requests and answers of Spark Connect |
//! | `text` | values as Hive writes them |
//! | `metadata` | the catalog in the shape that JDBC has |
//! | `failure`, `log` | what a client is told |

mod aside;
mod buffer;
pub(crate) mod cursor;
pub(crate) mod directory;
mod engine;
pub(crate) mod failure;
mod log;
pub(crate) mod metadata;
pub(crate) mod opening;
pub(crate) mod operation;
pub(crate) mod peers;
pub(crate) mod place;
pub(crate) mod plan;
pub(crate) mod session;
mod spool;
pub(crate) mod text;
mod whole;
mod zone;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use berth_core::ids::TenantId;
use berth_core::record::Dialect;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub(crate) use engine::{Engine, acting};
use spool::Spool;

/// Limits of the dialects that run SQL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct SqlConfig {
    /// Operations of one session that are kept; the longest unused gives way to a new one.
    pub max_operations: usize,
    /// Seconds after which an operation that is over and that nobody asks for is closed.
    pub operation_idle_seconds: u64,
    /// Seconds after which a session that nobody uses is closed, where its client asks for no other time.
    pub session_idle_seconds: u64,
    /// Seconds for which a question about a running operation waits for its end. A cancel on the same connection
    /// waits as long.
    pub poll_seconds: u64,
    /// Rows that clients fetch at once if they do not say.
    pub fetch_rows: u32,
    /// Bytes of rows in one fetch.
    pub page_bytes: usize,
    /// Bytes of rows that one operation has in memory.
    pub window_bytes: usize,
    /// Bytes of rows that all operations have in memory, before files are used.
    pub memory_bytes: u64,
    /// Where rows are that memory has no room for; `spool` in the data directory if it is empty.
    pub spool_dir: PathBuf,
    /// Bytes of rows that one operation has in files.
    pub operation_spool_bytes: u64,
    /// Bytes of rows that all operations have in files.
    pub spool_bytes: u64,
}

impl Default for SqlConfig {
    fn default() -> Self {
        Self {
            max_operations: 200,
            operation_idle_seconds: 1800,
            session_idle_seconds: 6 * 3600,
            poll_seconds: 1,
            fetch_rows: 1000,
            page_bytes: 8 << 20,
            window_bytes: 8 << 20,
            memory_bytes: 256 << 20,
            spool_dir: PathBuf::new(),
            operation_spool_bytes: 4 << 30,
            spool_bytes: 16 << 30,
        }
    }
}

impl SqlConfig {
    fn spool(&self) -> Arc<Spool> {
        let directory = self.spool_dir.clone();
        Spool::new(
            directory,
            self.memory_bytes,
            self.spool_bytes,
            self.operation_spool_bytes,
        )
    }

    /// How long a question about a running operation waits.
    pub(crate) fn poll(&self) -> Duration {
        Duration::from_secs(self.poll_seconds)
    }
}

/// Who calls.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Caller {
    /// The user; `None` for nobody in particular, where nobody asks.
    pub(crate) user: Option<String>,
    /// The user's tenant.
    pub(crate) tenant: Option<TenantId>,
    /// True for who may act for others and see everybody's sessions.
    pub(crate) operator: bool,
}

impl Caller {
    /// The user's name.
    pub(crate) fn name(&self) -> &str {
        self.user.as_deref().unwrap_or(NOBODY)
    }
}

/// Who nobody in particular is.
const NOBODY: &str = "anonymous";
/// Where a session comes from: the same for every broker that serves it.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    /// Its client's id of it.
    pub(crate) id: Uuid,
    /// Who opened it, and may use it.
    pub(crate) opened_by: String,
    /// Whom it acts for.
    pub(crate) user: String,
    /// Their tenant.
    pub(crate) tenant: Option<TenantId>,
    /// The protocol of its client.
    pub(crate) dialect: Dialect,
    /// That protocol's version, a number of the dialect.
    pub(crate) protocol: i32,
    /// Where calls about it come to.
    pub(crate) reach: Reach,
}

/// Where the calls about a session come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// To any broker.
    Any,
    /// To this one alone: it ends with it.
    Here,
}

/// A statement.
#[derive(Debug, Clone, Default)]
pub(crate) struct Statement {
    /// Its text.
    pub(crate) text: String,
    /// Settings for it alone.
    pub(crate) overlay: Vec<(String, String)>,
    /// How long it may run.
    pub(crate) limit: Option<Duration>,
}
