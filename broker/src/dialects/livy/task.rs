//! What an entry of a code session's lineage is: a statement, a resource or a job. Each kind is counted on its own,
//! so that the ids that clients see have no gaps.
//!
//! The number is in the entry's alias, of which a session has each only once: that makes it unique over all brokers,
//! and an entry is found by it.

use berth_core::lineage::LineageEntry;
use serde::{Deserialize, Serialize};

/// What an entry asks the driver for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// Code that a client sees as a statement.
    #[default]
    Statement,
    /// A jar or file.
    Add,
    /// A job of the jobs API.
    Job,
}

const ALL: [Task; 3] = [Task::Statement, Task::Add, Task::Job];

impl Task {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Statement => "statement",
            Self::Add => "add",
            Self::Job => "job",
        }
    }

    /// True for the default, which records do not spell out.
    pub fn is_statement(&self) -> bool {
        *self == Self::Statement
    }

    /// The number of a session's first one: Livy counts jobs from 1.
    pub const fn first(self) -> u64 {
        match self {
            Self::Statement | Self::Add => 0,
            Self::Job => 1,
        }
    }

    /// The alias of the entry with this number.
    pub fn alias(self, number: u64) -> String {
        format!("{}-{number}", self.as_str())
    }

    /// What an entry is, and its number. One that was written before there was more than statements has the number
    /// of its place.
    pub fn of(entry: &LineageEntry) -> (Self, u64) {
        let named = ALL.into_iter().find_map(|task| {
            let number = entry.alias.strip_prefix(task.as_str())?.strip_prefix('-')?;
            Some((task, number.parse().ok()?))
        });
        named.unwrap_or((Self::Statement, entry.seq.saturating_sub(1)))
    }

    /// The number of the next one in a lineage.
    pub fn next(self, entries: &[LineageEntry]) -> u64 {
        let numbers = entries.iter().map(Self::of);
        let own = numbers.filter_map(|(task, number)| (task == self).then_some(number));
        own.max().map_or(self.first(), |last| last.saturating_add(1))
    }
}

#[cfg(test)]
mod tests {
    use berth_core::ids::{Epoch, SessionId};
    use berth_core::lineage::{Class, Outcome, Payload};
    use uuid::Uuid;

    use super::*;

    fn entry(seq: u64, alias: &str) -> LineageEntry {
        LineageEntry {
            format: LineageEntry::FORMAT,
            session: SessionId::new(Uuid::nil()),
            seq,
            epoch: Epoch::INITIAL,
            operation: seq.to_string(),
            alias: alias.to_owned(),
            class: Class::Write,
            call: "code".to_owned(),
            what: String::new(),
            key: String::new(),
            payload: Payload::Inline(String::new()),
            blobs: Vec::new(),
            fingerprint: 0,
            outcome: Outcome::Unknown,
            waits: false,
            reruns: 0,
            claim: None,
            handed_on: false,
            at: 0,
        }
    }

    #[test]
    fn each_kind_is_counted_on_its_own() {
        let aliases = ["", "statement-1", "add-0", "statement-2", "job-1"];
        let entries: Vec<_> = (1..).zip(aliases).map(|(seq, name)| entry(seq, name)).collect();
        let read: Vec<_> = entries.iter().map(Task::of).collect();
        let expected = [
            (Task::Statement, 0),
            (Task::Statement, 1),
            (Task::Add, 0),
            (Task::Statement, 2),
            (Task::Job, 1),
        ];
        assert_eq!(read, expected);
        let next = ALL.map(|task| task.next(&entries));
        assert_eq!(next, [3, 1, 2]);
        assert_eq!(ALL.map(|task| task.next(&[])), [0, 0, 1]);
        assert_eq!(Task::Statement.alias(1), "statement-1");
    }
}
