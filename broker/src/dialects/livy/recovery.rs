//! What became of a session's state when it came to another driver, as the session's history tells it.

use serde::Serialize;

/// One line of a session's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Happened {
    /// When, in Unix milliseconds.
    pub at: u64,
    /// The epoch that began or ended.
    pub epoch: u64,
    /// What, for a person; after [`LOST`] what is not there any more.
    pub what: String,
}

/// Comes before each thing that is not there any more, in a line of history.
pub const LOST: &str = "; lost: ";

/// One event of a session's life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Event {
    /// When, in Unix milliseconds.
    pub at: u64,
    /// The number of the driver that the session came to or left, from 1.
    pub epoch: u64,
    /// What happened.
    pub what: String,
    /// What was not rebuilt, and why.
    pub lost: Vec<String>,
}

/// A session's life so far: the answer of `GET /sessions/{id}/recovery`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Recovery {
    /// How many drivers it has left.
    pub recoveries: u64,
    /// What happened, oldest first; the latest few.
    pub events: Vec<Event>,
}

impl Recovery {
    /// Reads a history, oldest first.
    pub fn of(history: &[Happened]) -> Self {
        Self {
            recoveries: history.last().map_or(0, |last| last.epoch.saturating_sub(1)),
            events: history.iter().map(event).collect(),
        }
    }

    /// The events as lines of a log.
    pub fn lines(&self) -> Vec<String> {
        let lines = self.events.iter().flat_map(|event| {
            let first = format!("driver {}: {}", event.epoch, event.what);
            let lost = event.lost.iter().map(|lost| format!("  not rebuilt: {lost}"));
            std::iter::once(first).chain(lost)
        });
        lines.collect()
    }
}

fn event(happened: &Happened) -> Event {
    let mut parts = happened.what.split(LOST);
    Event {
        at: happened.at,
        epoch: happened.epoch,
        what: parts.next().unwrap_or_default().to_owned(),
        lost: parts.map(str::to_owned).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_says_what_was_not_rebuilt() {
        let happened = |epoch, what: &str| Happened {
            at: 7,
            epoch,
            what: what.to_owned(),
        };
        let recovery = Recovery::of(&[
            happened(1, "placed on a: warm; 0 changes replayed"),
            happened(
                2,
                "placed on b: warm; 3 changes replayed; lost: statement 1: why; lost: statement 4: why",
            ),
        ]);
        assert_eq!(recovery.recoveries, 1);
        assert_eq!(recovery.events[0].lost, [""; 0]);
        assert_eq!(recovery.events[1].what, "placed on b: warm; 3 changes replayed");
        assert_eq!(recovery.events[1].lost, ["statement 1: why", "statement 4: why"]);
        assert_eq!(
            recovery.lines().last().map(String::as_str),
            Some("  not rebuilt: statement 4: why")
        );
        assert_eq!(Recovery::of(&[]), Recovery::default());
    }
}
