//! What a figure was measured on. A figure without it means nothing.

use std::fs;
use std::process::Command;

use serde::Serialize;

/// The machine, the commit and the build that a result belongs to.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// Processor model.
    pub cpu: String,
    /// Logical processors.
    pub cores: usize,
    /// Kernel release.
    pub kernel: String,
    /// Load average over one minute at the start: other work makes figures worse.
    pub load_before: String,
    /// The commit of the working tree, with "+" when it has changes; "unknown" outside one.
    pub commit: String,
    /// "debug" or "optimized", of this load generator.
    pub build: &'static str,
    /// The command line, tokens taken out.
    pub command: String,
}

impl Machine {
    /// Looks at the machine this runs on.
    pub fn read() -> Self {
        let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
        Self {
            cpu: cpu_model().unwrap_or_else(|| "unknown".to_owned()),
            cores,
            kernel: first_line("/proc/sys/kernel/osrelease"),
            load_before: first_line("/proc/loadavg")
                .split(' ')
                .next()
                .unwrap_or_default()
                .to_owned(),
            commit: commit(),
            build: if cfg!(debug_assertions) {
                "debug"
            } else {
                "optimized"
            },
            command: without_tokens(std::env::args().skip(1)),
        }
    }
}

fn first_line(path: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().next().unwrap_or("unknown").to_owned()
}

fn cpu_model() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

fn commit() -> String {
    let Some(commit) = git(&["rev-parse", "--short", "HEAD"]) else {
        return "unknown".to_owned();
    };
    let changed =
        git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|list| !list.is_empty());
    if changed { format!("{commit}+") } else { commit }
}

/// A command line without what follows `token=` or a `--…token` flag.
fn without_tokens(arguments: impl Iterator<Item = String>) -> String {
    let mut hide_next = false;
    let shown = arguments.map(|argument| {
        let hide = std::mem::replace(
            &mut hide_next,
            argument.starts_with("--") && argument.ends_with("token"),
        );
        match argument.find("token=") {
            _ if hide => "***".to_owned(),
            Some(at) => format!("{}***", &argument[..at + "token=".len()]),
            None => argument,
        }
    });
    shown.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_not_shown() {
        let line = [
            "latency",
            "--direct-token",
            "abc",
            "sc://h/;token=def",
            "--x-token=ghi",
        ];
        let shown = without_tokens(line.iter().map(ToString::to_string));
        assert_eq!(
            shown,
            "latency --direct-token *** sc://h/;token=*** --x-token=***"
        );
    }
}
