//! Lines of a log, picked by their number from its start, as the log comes.

/// Bytes of one line that are kept.
const MAX_LINE_BYTES: usize = 64 << 10;

/// The lines that are wanted, and those that came so far.
#[derive(Debug)]
pub struct Lines {
    skip: usize,
    most: usize,
    room: usize,
    line: Vec<u8>,
    picked: Vec<String>,
}

impl Lines {
    /// At most `most` lines from line `from` on, and no more than `bytes` bytes of them, but for the last one.
    pub const fn new(from: usize, most: usize, bytes: usize) -> Self {
        Self {
            skip: from,
            most,
            room: bytes,
            line: Vec::new(),
            picked: Vec::new(),
        }
    }

    /// True when nothing that follows is wanted.
    pub fn is_full(&self) -> bool {
        self.picked.len() >= self.most || self.room == 0
    }

    /// Takes the next piece of the log.
    pub fn feed(&mut self, piece: &[u8]) {
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            if self.is_full() {
                return;
            }
            let (text, ends) = match part.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (part, false),
            };
            if self.skip == 0 {
                let room = MAX_LINE_BYTES.saturating_sub(self.line.len());
                self.line.extend_from_slice(&text[..text.len().min(room)]);
            }
            if ends {
                self.close_line();
            }
        }
    }

    fn close_line(&mut self) {
        if self.skip > 0 {
            self.skip -= 1;
            return;
        }
        let line = std::mem::take(&mut self.line);
        let line = line.strip_suffix(b"\r").unwrap_or(&line);
        self.room = self.room.saturating_sub(line.len() + 1);
        self.picked.push(String::from_utf8_lossy(line).into_owned());
    }

    /// The lines that are whole: more of the last one may follow.
    pub fn whole(self) -> Vec<String> {
        self.picked
    }

    /// All of it, where nothing follows.
    pub fn all(mut self) -> Vec<String> {
        if !self.line.is_empty() && !self.is_full() {
            self.close_line();
        }
        self.picked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fed(mut lines: Lines, pieces: &[&str]) -> Lines {
        pieces.iter().for_each(|piece| lines.feed(piece.as_bytes()));
        lines
    }

    #[test]
    fn pages_of_a_log_follow_each_other() {
        // kyuubi#58
        let log = ["a\nb", "b\n", "c\nd\ne"];
        let page = |from, most| fed(Lines::new(from, most, 1000), &log).whole();
        assert_eq!(page(0, 2), ["a", "bb"]);
        assert_eq!(page(2, 10), ["c", "d"]);
        assert_eq!(page(9, 10), Vec::<String>::new());
        assert_eq!(fed(Lines::new(3, 10, 1000), &log).all(), ["d", "e"]);
    }

    #[test]
    fn i8_a_page_is_bounded_in_bytes_and_so_is_a_line() {
        let lines = fed(Lines::new(0, 100, 4), &["abc\nabc\n"]);
        assert!(lines.is_full());
        assert_eq!(lines.whole(), ["abc"]);
        let long = "x".repeat(MAX_LINE_BYTES + 1);
        let lines = fed(Lines::new(0, 100, 1 << 20), &[&long, "\nnext\n"]);
        let lengths: Vec<usize> = lines.whole().iter().map(String::len).collect();
        assert_eq!(lengths, [MAX_LINE_BYTES, 4]);
    }
}
