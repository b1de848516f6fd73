//! Files that only a running driver needs, and that go with it.

use std::fmt::Display;
use std::io::{ErrorKind, Result};
use std::path::{Path, PathBuf};

use crate::files::private_directory;

/// Characters of a driver's id that name the place of its temporary files.
const NAME_CHARS: usize = 13;

/// Where a driver's files are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scratch {
    /// Spark's blocks and shuffle files, and what its sessions have uploaded.
    pub(crate) local: PathBuf,
    /// What the JVM, Python and their libraries make without asking where. Not below `local`: sockets are made here,
    /// whose paths have 107 bytes at most, and the ways to state directories are long enough.
    pub(crate) temporary: PathBuf,
}

impl Scratch {
    /// The files of a driver, or another process of this name, whose own directory is `directory`.
    pub(crate) fn of(state: &Path, directory: &Path, name: impl Display) -> Self {
        let name: String = name.to_string().chars().take(NAME_CHARS).collect();
        Self {
            local: directory.join("local"),
            temporary: state.join("tmp").join(name),
        }
    }

    /// Makes the directories.
    pub(crate) fn make(&self) -> Result<()> {
        private_directory(&self.local)?;
        private_directory(&self.temporary)
    }

    /// Removes them with what is in them. Nothing of the driver may run any more.
    pub(crate) fn remove(&self) {
        for path in [&self.local, &self.temporary] {
            match std::fs::remove_dir_all(path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    tracing::warn!(path = %path.display(), %error, "scratch files of a driver stay");
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temporary_files_leave_room_for_the_names_of_sockets() {
        let state = Path::new("/home/somebody/.local/share/berth/agent");
        let id = "0123abcd-4567-89ab-cdef-0123456789ab";
        let scratch = Scratch::of(state, &state.join("drivers").join(id), id);
        assert_eq!(scratch.temporary, state.join("tmp/0123abcd-4567"));
        // The longest that Python's own libraries make.
        let socket = scratch.temporary.join("pymp-12345678/listener-12345678");
        assert!(socket.as_os_str().len() <= 107);
    }

    #[test]
    fn everything_goes_and_what_was_never_there_is_no_fault() {
        let state = tempfile::tempdir().unwrap();
        let scratch = Scratch::of(state.path(), &state.path().join("d"), "d");
        scratch.remove();
        scratch.make().unwrap();
        std::fs::write(scratch.temporary.join("liblz4.so"), "x").unwrap();
        scratch.remove();
        assert!(!scratch.temporary.exists() && !scratch.local.exists());
    }
}
