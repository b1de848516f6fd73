//! What the rules look at of a statement: its first tokens, and a few facts about all of them.
//!
//! A statement may be a hundred megabytes of values: beyond its head nothing of it is kept.

use super::tokens::{Token, Tokens};

/// Tokens that are kept. The longest beginning that a rule reads are some 15, and a conf key of as many parts as this
/// has is none.
pub(super) const HEAD: usize = 128;
/// Longest name that is made a key of, in bytes. What is longer goes without one, as if it were not spelled out.
pub(super) const MAX_NAME: usize = 1024;
/// No keyword has as many characters.
const MAX_KEYWORD: usize = 32;
/// Words of a statement that describe it.
const WORDS: usize = 4;
/// The same where the fifth and the sixth tell what it does: `ALTER VIEW V RENAME TO W`.
const WORDS_OF_RENAME: usize = 6;
/// Longest word in a description, in characters.
const MAX_WORD: usize = 120;

/// Words by which a query turns out to write.
const WRITES: [&str; 4] = ["INSERT", "MERGE", "UPDATE", "DELETE"];
/// Words by which a script changes its session, or may do so.
const CHANGES_SESSION: [&str; 7] = ["SET", "USE", "TEMP", "TEMPORARY", "VIEW", "CACHE", "IMMEDIATE"];

/// A statement, or the first one of a script.
#[derive(Debug, Default)]
pub(super) struct Outline<'a> {
    /// Its first tokens.
    head: Vec<Token<'a>>,
    /// True if it has more than these.
    is_cut: bool,
    /// True if one of its words writes.
    pub(super) writes: bool,
    /// True if it has an equals sign.
    pub(super) assigns: bool,
    /// True if something stands behind it.
    pub(super) is_script: bool,
    /// True if it, or what stands behind it, may change the session.
    pub(super) changes_session: bool,
}

impl<'a> Outline<'a> {
    /// Reads a text to its end, once.
    pub(super) fn of(text: &'a str) -> Self {
        let mut outline = Self::default();
        let mut is_over = false;
        for token in Tokens::of(text) {
            if token == Token::Semicolon {
                is_over = true;
                continue;
            }
            outline.is_script |= is_over;
            outline.note(token);
            if !is_over {
                outline.take(token);
            }
        }
        outline
    }

    /// Looks at a token for what it tells of the whole text.
    fn note(&mut self, token: Token<'a>) {
        if !self.changes_session {
            self.changes_session = CHANGES_SESSION.iter().any(|word| token.is(word));
        }
    }

    /// Looks at a token for what it tells of its statement, and keeps it if it is one of the first.
    fn take(&mut self, token: Token<'a>) {
        if !self.writes {
            self.writes = WRITES.iter().any(|word| token.is(word));
        }
        self.assigns |= token == Token::Symbol('=');
        if self.head.len() < HEAD {
            self.head.push(token);
        } else {
            self.is_cut = true;
        }
    }

    /// True of a text without any statement.
    pub(super) fn is_empty(&self) -> bool {
        self.head.is_empty()
    }

    /// How many tokens of it are kept.
    #[cfg(test)]
    pub(super) fn kept(&self) -> usize {
        self.head.len()
    }

    /// The token at a position of its head.
    pub(super) fn token(&self, position: usize) -> Option<Token<'a>> {
        self.head.get(position).copied()
    }

    /// The keyword at a position, in upper case; empty where there is none.
    pub(super) fn at(&self, position: usize) -> String {
        match self.token(position) {
            Some(Token::Word(word)) => upper(word, MAX_KEYWORD),
            _ => String::new(),
        }
    }

    /// The parts of the identifier that starts at a position, in lower case; `None` if the text does not spell it
    /// (`IDENTIFIER(..)`), or not briefly enough.
    pub(super) fn name(&self, position: usize) -> Option<Vec<String>> {
        if self.at(position) == "IDENTIFIER" && self.token(position + 1) == Some(Token::Symbol('(')) {
            return None;
        }
        let mut parts = Vec::new();
        let mut length = 0;
        loop {
            let at = position + 2 * parts.len();
            let part = self.token(at)?.name_part()?;
            length += part.len();
            if length > MAX_NAME {
                return None;
            }
            parts.push(part.to_lowercase());
            match self.token(at + 1) {
                Some(Token::Symbol('.')) => {}
                None if self.is_cut => return None,
                _ => return Some(parts),
            }
        }
    }

    /// The key of the conf whose name starts at a position; empty if there is none, or none so short.
    pub(super) fn conf_key(&self, position: usize) -> String {
        let tokens = self.head.get(position..).unwrap_or_default();
        let mut name = String::new();
        let mut parts = 0;
        for part in tokens.iter().map_while(|token| token.conf_part()) {
            parts += 1;
            if name.len() + part.len() > MAX_NAME {
                return String::new();
            }
            name.push_str(&part);
        }
        let goes_on = self.is_cut && parts == tokens.len();
        if name.is_empty() || goes_on {
            return String::new();
        }
        format!("conf:{name}")
    }

    /// Its first words, in upper case.
    pub(super) fn what(&self) -> String {
        let words = self.head.iter().map_while(|token| match token {
            Token::Word(word) => Some(upper(word, MAX_WORD)),
            Token::Quoted(_) | Token::Symbol(_) | Token::Literal(_) | Token::Semicolon => None,
        });
        let renames = self.at(0) == "ALTER" && self.at(3) == "RENAME";
        let count = if renames { WORDS_OF_RENAME } else { WORDS };
        words.take(count).collect::<Vec<_>>().join(" ")
    }
}

fn upper(word: &str, most: usize) -> String {
    word.chars().take(most).flat_map(char::to_uppercase).collect()
}
