//! The floors of epochs on disk, so that a restarted agent keeps its promises.
//!
//! One JSON line for each fence is appended and synced; when most lines are outdated the file is written anew.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use berth_core::ids::{Epoch, SessionId};
use serde::{Deserialize, Serialize};

use crate::files::{Durable, replace};
use crate::reservations::Floors;

/// The file is written anew when it has this many lines more than floors.
const SLACK_LINES: usize = Floors::MOST;

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Line {
    session: SessionId,
    floor: Epoch,
}

/// The file of floors.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    open: Mutex<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    lines: usize,
    /// The last write failed: the file may end in half a line.
    torn: bool,
    floors: Floors,
}

impl Journal {
    /// Opens the file and gives the floors in it. A line that was cut off by a crash was never promised.
    pub(crate) fn open(path: &Path) -> std::io::Result<(Self, Floors)> {
        let floors = match File::open(path) {
            Ok(file) => read(file),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Floors::default(),
            Err(error) => return Err(error),
        };
        let open = Open::renew(path, floors.clone())?;
        let journal = Self {
            path: path.to_owned(),
            open: Mutex::new(open),
        };
        Ok((journal, floors))
    }

    /// Writes a floor down; it is durable when this returns. Blocks on the disk.
    pub(crate) fn raise(&self, session: SessionId, floor: Epoch) -> std::io::Result<()> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.floors.get(session).is_some_and(|known| known >= floor) {
            return Ok(());
        }
        if open.torn || open.lines > Floors::MOST + SLACK_LINES {
            *open = Open::renew(&self.path, open.floors.clone())?;
        }
        open.torn = true;
        open.file.write_all(&line(session, floor))?;
        open.file.sync_data()?;
        open.torn = false;
        open.lines += 1;
        open.floors.raise(session, floor);
        Ok(())
    }
}

impl Open {
    fn renew(path: &Path, floors: Floors) -> std::io::Result<Self> {
        let lines: Vec<u8> = floors
            .iter()
            .flat_map(|(session, floor)| line(session, floor))
            .collect();
        replace(path, &lines, Durable::Machine)?;
        Ok(Self {
            file: OpenOptions::new().append(true).open(path)?,
            lines: floors.iter().count(),
            torn: false,
            floors,
        })
    }
}

fn line(session: SessionId, floor: Epoch) -> Vec<u8> {
    // Two plain fields: serde_json has no way to fail on them.
    let mut line = serde_json::to_vec(&Line { session, floor }).unwrap_or_default();
    line.push(b'\n');
    line
}

fn read(file: File) -> Floors {
    let mut floors = Floors::default();
    for line in BufReader::new(file).lines().map_while(Result::ok) {
        if let Ok(Line { session, floor }) = serde_json::from_str(&line) {
            floors.raise(session, floor);
        }
    }
    floors
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn i1_floors_are_there_after_a_restart_and_a_torn_line_is_left_out() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("epochs");
        let (one, two) = (
            SessionId::new(Uuid::from_u128(1)),
            SessionId::new(Uuid::from_u128(2)),
        );
        let epoch = |n| Epoch::from_wire(n).unwrap();
        {
            let (journal, floors) = Journal::open(&path).unwrap();
            assert_eq!(floors.iter().count(), 0);
            journal.raise(one, epoch(2)).unwrap();
            journal.raise(one, epoch(4)).unwrap();
            journal.raise(two, epoch(3)).unwrap();
        }
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"{\"session\":\"0000").unwrap();
        let (_, floors) = Journal::open(&path).unwrap();
        assert_eq!(
            floors.iter().collect::<Vec<_>>(),
            [(one, epoch(4)), (two, epoch(3))]
        );
    }
}
