//! Processes by identity: a pid alone may come to mean another process.

use std::time::{Duration, Instant};

use berth_core::ids::DriverId;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

/// The environment variable that every process of a driver carries, Spark's Python workers included.
pub(crate) const MARK: &str = "BERTH_DRIVER_ID";
/// A killed process is gone after milliseconds, one with much memory after a second.
const GONE_DEADLINE: Duration = Duration::from_secs(8);
const POLL: Duration = Duration::from_millis(5);
/// Of the flags in `/proc/<pid>/stat`: the process is on its way out (linux/sched.h).
const PF_EXITING: u64 = 0x4;

/// A process that leads a group of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    /// Its start in clock ticks since boot: with the pid, its identity.
    started: u64,
}

impl Process {
    /// The process that has this pid now.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (state, started) = state_and_start(&stat)?;
        // Its first thread may have ended before the others.
        let has_ended = matches!(state, 'Z' | 'X') && threads(pid) <= 1;
        (!has_ended).then_some(Self { pid, started })
    }

    /// True while any of its threads runs.
    pub(crate) fn is_alive(self) -> bool {
        Self::of(self.pid) == Some(self)
    }

    /// Waits until no thread of it runs. False if that takes too long.
    fn wait_until_gone(self, deadline: Instant) -> bool {
        while self.is_alive() {
            if Instant::now() > deadline {
                return false;
            }
            std::thread::sleep(POLL);
        }
        true
    }

    /// Kills it and its group.
    pub(crate) fn kill_group(self) {
        if self.is_alive() {
            // ESRCH: it has ended by itself.
            let _ended = killpg(pid(self.pid), Signal::SIGKILL);
        }
    }
}

/// True if a process has ended or is being killed: that takes milliseconds, more with much memory.
pub(crate) fn is_ending(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok();
    let flags = stat.and_then(|stat| {
        let (_, rest) = stat.rsplit_once(')')?;
        rest.split_whitespace().nth(6)?.parse::<u64>().ok()
    });
    flags.is_none_or(|flags| flags & PF_EXITING != 0)
}

/// State and start time in the text of `/proc/<pid>/stat`.
fn state_and_start(stat: &str) -> Option<(char, u64)> {
    // The command is in parentheses and may contain anything.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

fn threads(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count)
}

fn pid(pid: u32) -> Pid {
    // Kernel pids fit; this one does not exist.
    Pid::from_raw(i32::try_from(pid).unwrap_or(i32::MAX))
}

/// Kills every process that carries the driver's mark, wherever in the process tree it is, and waits until they are
/// gone. Blocks.
pub(crate) fn sweep(driver: DriverId) {
    let mark = format!("{MARK}={driver}");
    let deadline = Instant::now() + GONE_DEADLINE;
    let mut quiet = 0;
    while quiet < 2 {
        // Again after each round: one that is being forked, or starts a program just now, carries no mark yet.
        let found = marked(mark.as_bytes());
        if found.is_empty() {
            quiet += 1;
            std::thread::sleep(POLL);
            continue;
        }
        quiet = 0;
        for process in &found {
            let _ended = kill(pid(process.pid), Signal::SIGKILL);
        }
        if !found.iter().all(|process| process.wait_until_gone(deadline)) {
            tracing::error!(driver.id = %driver, "a process of the driver does not end");
            return;
        }
    }
}

fn marked(mark: &[u8]) -> Vec<Process> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let carries = |pid: &u32| {
        let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environ.split(|byte| *byte == 0).any(|variable| variable == mark)
    };
    pids.filter(|pid| *pid != std::process::id())
        .filter(carries)
        .filter_map(Process::of)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_with_parentheses_does_not_shift_the_fields() {
        let fields = "S 1 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4242 9 9";
        assert_eq!(
            state_and_start(&format!("7 (a) b (c)) {fields}")),
            Some(('S', 4242))
        );
        assert_eq!(state_and_start(""), None);
    }

    #[test]
    fn a_process_is_alive_until_it_is_killed() {
        let id = DriverId::new(uuid::Uuid::new_v4());
        let mut child = std::process::Command::new("sleep")
            .arg("600")
            .env(MARK, id.to_string())
            .spawn()
            .unwrap();
        let process = Process::of(child.id()).unwrap();
        assert!(process.is_alive() && !is_ending(process.pid));
        sweep(id);
        assert!(!process.is_alive() && is_ending(process.pid));
        child.wait().unwrap();
        assert!(is_ending(process.pid));
    }
}
