//! What an operation has to say while it runs: a bounded list of lines with a cursor of its own.

use std::collections::VecDeque;

use berth_runtime::clock::unix_millis;

use super::text;

/// Lines of one operation; the oldest go first.
const MAX_LINES: usize = 1000;
/// Longest line, in characters.
const MAX_LINE_CHARS: usize = 2000;

/// The lines.
#[derive(Debug, Default)]
pub(crate) struct Log {
    lines: VecDeque<String>,
    /// Number of the first line that is there.
    first: usize,
    /// Number of the next line to be read.
    next: usize,
}

impl Log {
    /// Adds a line, with the time.
    pub(crate) fn add(&mut self, line: &str) {
        if self.lines.len() == MAX_LINES {
            self.lines.pop_front();
            self.first += 1;
        }
        let millis = i64::try_from(unix_millis()).unwrap_or(i64::MAX);
        let mut stamped = Vec::new();
        text::write_timestamp(millis / 1000 * 1_000_000, None, &mut stamped);
        let stamp = String::from_utf8_lossy(&stamped);
        let line: String = line.chars().take(MAX_LINE_CHARS).collect();
        self.lines.push_back(format!("{stamp} {line}"));
    }

    /// The next lines; from the start again with `rewind`.
    pub(crate) fn read(&mut self, rewind: bool, most: usize) -> Vec<String> {
        if rewind {
            self.next = 0;
        }
        self.next = self.next.max(self.first);
        let skipped = self.next - self.first;
        let read: Vec<String> = self.lines.iter().skip(skipped).take(most).cloned().collect();
        self.next += read.len();
        read
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_once_and_again_from_the_start() {
        // hs2#39
        let mut log = Log::default();
        log.add("INFO one");
        log.add("INFO two");
        assert_eq!(log.read(false, 1).len(), 1);
        assert!(log.read(false, 10)[0].ends_with(" INFO two"));
        assert!(log.read(false, 10).is_empty());
        assert_eq!(log.read(true, 10).len(), 2);
    }

    #[test]
    fn i8_only_the_latest_lines_stay() {
        let mut log = Log::default();
        for number in 0..=MAX_LINES {
            log.add(&number.to_string());
        }
        let read = log.read(false, usize::MAX);
        assert_eq!(read.len(), MAX_LINES);
        assert!(read[0].ends_with(" 1"));
    }
}
