//! Tokens of SQL text, as coarse as [`super::classify`] needs them: parts of the text, one after the other, so that a
//! statement of a hundred megabytes costs no memory of its own.

use std::borrow::Cow;

/// One token. Comments and white space are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// A keyword, an identifier or a number, as written.
    Word(&'a str),
    /// An identifier in backquotes; one in it is still written twice.
    Quoted(&'a str),
    /// What a string literal has between its quotes, as written. It must not get into logs.
    Literal(&'a str),
    /// The end of a statement.
    Semicolon,
    /// Any other character.
    Symbol(char),
}

impl<'a> Token<'a> {
    /// The token as a part of a conf key (`spark.sql.x-y`), if it can be one. Spark tells keys apart by their case.
    pub(super) fn conf_part(self) -> Option<Cow<'a, str>> {
        match self {
            Self::Word(_) | Self::Quoted(_) => self.name_part(),
            Self::Symbol('.') => Some(Cow::Borrowed(".")),
            Self::Symbol('-') => Some(Cow::Borrowed("-")),
            Self::Symbol(':') => Some(Cow::Borrowed(":")),
            Self::Symbol(_) | Self::Literal(_) | Self::Semicolon => None,
        }
    }

    /// The token as a part of a name, without its quotes.
    pub(super) fn name_part(self) -> Option<Cow<'a, str>> {
        match self {
            Self::Word(word) => Some(Cow::Borrowed(word)),
            Self::Quoted(text) if text.contains("``") => Some(Cow::Owned(text.replace("``", "`"))),
            Self::Quoted(text) => Some(Cow::Borrowed(text)),
            Self::Symbol(_) | Self::Literal(_) | Self::Semicolon => None,
        }
    }

    /// True of a word that Spark takes for this keyword, given in upper case.
    pub(super) fn is(self, keyword: &str) -> bool {
        matches!(self, Self::Word(word) if is_keyword(word, keyword))
    }
}

/// Spark's lexer looks at the upper case of each character: to it, a Turkish dotless i begins an INSERT.
fn is_keyword(word: &str, keyword: &str) -> bool {
    if word.is_ascii() {
        return word.eq_ignore_ascii_case(keyword);
    }
    word.chars().flat_map(char::to_uppercase).eq(keyword.chars())
}

/// The tokens of a text, cut where Spark's own lexer (`SqlBaseLexer.g4`) cuts. Unterminated comments and quotes end
/// with the text.
#[derive(Debug, Clone)]
pub(super) struct Tokens<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        loop {
            self.rest = self.rest.trim_start();
            let first = self.rest.chars().next()?;
            match first {
                '-' if self.rest.starts_with("--") => self.skip_line(),
                '/' if begins_comment(self.rest) => self.skip_block(),
                _ => return Some(self.token(first)),
            }
        }
    }
}

impl<'a> Tokens<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        Self { rest: text }
    }

    /// The text behind the last token.
    pub(super) fn rest(&self) -> &'a str {
        self.rest
    }

    fn token(&mut self, first: char) -> Token<'a> {
        if is_word(first) {
            return self.word();
        }
        self.skip(first.len_utf8());
        match first {
            '\'' | '"' => Token::Literal(self.quoted(first)),
            '`' => Token::Quoted(self.backquoted()),
            ';' => Token::Semicolon,
            other => Token::Symbol(other),
        }
    }

    fn skip(&mut self, bytes: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or_default();
    }

    /// The next `bytes` bytes; what ends them has `behind` bytes and goes with them.
    fn take(&mut self, bytes: usize, behind: usize) -> &'a str {
        let taken = self.rest.get(..bytes).unwrap_or(self.rest);
        self.skip(bytes + behind);
        taken
    }

    fn word(&mut self) -> Token<'a> {
        let end = self.rest.find(|c| !is_word(c)).unwrap_or(self.rest.len());
        let word = self.take(end, 0);
        let quote = self.rest.chars().next().filter(|c| matches!(c, '\'' | '"'));
        match quote {
            // A raw string: nothing in it is an escape.
            Some(quote) if is_keyword(word, "R") => {
                self.skip(1);
                let end = self.rest.find(quote).unwrap_or(self.rest.len());
                Token::Literal(self.take(end, 1))
            }
            _ => Token::Word(word),
        }
    }

    /// A backslash at the end of a line continues its comment.
    fn skip_line(&mut self) {
        while let Some(at) = self.rest.find(['\\', '\r', '\n']) {
            let goes_on = self.rest[at..].starts_with("\\\n");
            let ends = !goes_on && !self.rest[at..].starts_with('\\');
            self.skip(at + if goes_on { 2 } else { 1 });
            if ends {
                return;
            }
        }
        self.rest = "";
    }

    /// Block comments nest in Spark SQL, but for what would be a hint.
    fn skip_block(&mut self) {
        self.skip("/*".len());
        let mut depth = 1;
        while let Some(at) = self.rest.find(['*', '/']) {
            let found = &self.rest[at..];
            let (closes, opens) = (found.starts_with("*/"), begins_comment(found));
            self.skip(at + if closes || opens { 2 } else { 1 });
            depth = if opens {
                depth + 1
            } else {
                depth - usize::from(closes)
            };
            if depth == 0 {
                return;
            }
        }
        self.rest = "";
    }

    /// The text up to a quote, which is gone then.
    fn quoted(&mut self, quote: char) -> &'a str {
        let mut is_escaped = false;
        let end = self.rest.find(|c| {
            let ends = c == quote && !is_escaped;
            is_escaped = c == '\\' && !is_escaped;
            ends
        });
        self.take(end.unwrap_or(self.rest.len()), 1)
    }

    fn backquoted(&mut self) -> &'a str {
        let mut end = 0;
        while let Some(at) = self.rest[end..].find('`') {
            end += at;
            if !self.rest[end..].starts_with("``") {
                return self.take(end, 1);
            }
            end += "``".len();
        }
        self.take(self.rest.len(), 0)
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// A hint is no comment: its words are tokens as others are.
fn begins_comment(text: &str) -> bool {
    text.starts_with("/*") && !text.starts_with("/*+")
}
