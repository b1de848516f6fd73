//! One statement: as it is kept on disk and as it is told.

use std::fmt;
use std::str::FromStr;

use berth_core::ids::DriverId;
use berth_proto::agent as api;
use serde::{Deserialize, Serialize};

use super::{Key, StatementError};
use crate::control::frames::{Ending, Finished, Progress, ToHost};

const FORMAT: u16 = 1;

/// A statement's id within its epoch: a part of a file name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct StatementId(String);

impl StatementId {
    /// Comes before every id.
    pub(crate) const FIRST: Self = Self(String::new());
    const MAX_LEN: usize = 64;

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for StatementId {
    type Err = StatementError;

    fn from_str(text: &str) -> Result<Self, StatementError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let fits = (1..=Self::MAX_LEN).contains(&text.len()) && text.bytes().all(allowed);
        if fits && !text.starts_with('.') {
            Ok(Self(text.to_owned()))
        } else {
            Err(StatementError::Invalid)
        }
    }
}

impl fmt::Display for StatementId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a statement is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    Waiting,
    Running,
    Ok,
    Error,
    Cancelled,
    /// Its driver ended first: nobody knows how far it got.
    Lost,
    /// Its driver ended before it was allowed to begin: it surely did nothing.
    NeverBegan,
}

impl State {
    pub(crate) fn has_ended(self) -> bool {
        match self {
            Self::Waiting | Self::Running => false,
            Self::Ok | Self::Error | Self::Cancelled | Self::Lost | Self::NeverBegan => true,
        }
    }
}

/// What waits are for: the part of a statement that is in memory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Head {
    pub(crate) state: State,
    pub(crate) progress: f64,
    pub(crate) started_at: i64,
}

impl Head {
    const WAITING: Self = Self {
        state: State::Waiting,
        progress: 0.0,
        started_at: 0,
    };

    pub(super) fn of(result: &Finished) -> Self {
        let state = match result.state {
            Ending::Ok => State::Ok,
            Ending::Error => State::Error,
            Ending::Cancelled => State::Cancelled,
        };
        Self {
            state,
            progress: 1.0,
            started_at: result.started_at,
        }
    }

    /// True if something changed.
    pub(super) fn progressed(&mut self, news: &Progress) -> bool {
        if self.state.has_ended() {
            return false;
        }
        self.state = State::Running;
        self.progress = news.progress.clamp(0.0, 1.0);
        self.started_at = news.started_at.unwrap_or(self.started_at);
        true
    }

    /// True if something changed.
    pub(super) fn lose(&mut self) -> bool {
        match self.state {
            State::Waiting => self.state = State::NeverBegan,
            State::Running => self.state = State::Lost,
            State::Ok | State::Error | State::Cancelled | State::Lost | State::NeverBegan => return false,
        }
        true
    }

    /// What is allowed to run is not surely undone from now on. True if it may run.
    pub(super) fn begin(&mut self) -> bool {
        if self.state == State::Waiting {
            self.state = State::Running;
        }
        self.state == State::Running
    }
}

/// A statement as it is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Statement {
    format: u16,
    pub(crate) id: String,
    pub(super) driver: DriverId,
    pub(super) order: u64,
    pub(super) kind: String,
    /// Empty once it has ended: nobody runs it again from here.
    pub(super) code: String,
    pub(crate) head: Head,
    result: Option<Finished>,
    /// True once it was asked to stop; told only while it has not ended.
    #[serde(skip)]
    cancelling: bool,
}

impl Statement {
    pub(super) fn new(key: &Key, driver: DriverId, order: u64, kind: &str, code: &str) -> Self {
        Self {
            format: FORMAT,
            id: key.id.to_string(),
            driver,
            order,
            kind: kind.to_owned(),
            code: code.to_owned(),
            head: Head::WAITING,
            result: None,
            cancelling: false,
        }
    }

    pub(super) fn finished(key: &Key, kind: &str, order: u64, driver: DriverId, result: Finished) -> Self {
        Self {
            head: Head::of(&result),
            result: Some(result),
            ..Self::new(key, driver, order, kind, "")
        }
    }

    /// What is told of a statement that has not ended.
    pub(super) fn unfinished(key: &Key, kind: &str, head: Head, cancelling: bool) -> Self {
        let nobody = DriverId::new(uuid::Uuid::nil());
        Self {
            head,
            cancelling,
            ..Self::new(key, nobody, 0, kind, "")
        }
    }

    pub(super) fn is_readable(&self) -> bool {
        self.format == FORMAT
    }

    pub(super) fn run(&self) -> ToHost {
        ToHost::Run {
            id: self.id.clone(),
            kind: self.kind.clone(),
            code: self.code.clone(),
        }
    }
}

impl From<Statement> for api::Statement {
    fn from(statement: Statement) -> Self {
        let state = match statement.head.state {
            State::Waiting => api::statement::State::Waiting,
            State::Running => api::statement::State::Running,
            State::Ok => api::statement::State::Ok,
            // A lost statement is an error of the call; it is never told as a statement.
            State::Error | State::Lost | State::NeverBegan => api::statement::State::Error,
            State::Cancelled => api::statement::State::Cancelled,
        };
        let told = Self {
            statement_id: statement.id,
            state: state.into(),
            progress: statement.head.progress,
            started_at_unix_ms: statement.head.started_at,
            cancelling: statement.cancelling,
            ..Self::default()
        };
        let Some(result) = statement.result else {
            return told;
        };
        Self {
            output_json: result.output.map(|output| output.to_string()).unwrap_or_default(),
            error_name: result.error_name,
            error_value: result.error_value,
            traceback: result.traceback,
            effects: result.effects,
            snapshot: result.snapshot.map(|snapshot| api::Snapshot {
                data: snapshot.data,
                names: snapshot.names,
                lost: snapshot.lost,
            }),
            finished_at_unix_ms: result.finished_at,
            ..told
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_safe_file_names() {
        for good in ["0", "17", "a-b_c.d"] {
            assert_eq!(good.parse::<StatementId>().unwrap().as_str(), good);
        }
        for bad in ["", ".", "..", "a/b", "a b", "\u{e4}", &"x".repeat(65)] {
            assert!(bad.parse::<StatementId>().is_err(), "{bad}");
        }
    }
}
