//! Tokens of SQL text, as coarse as [`super::classify`] needs them.

use std::iter::Peekable;
use std::str::Chars;

/// A word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word {
    /// In upper case.
    pub(super) upper: String,
    /// As written.
    pub(super) written: String,
}

/// One token. Comments and white space are gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// A keyword, an identifier or a number.
    Word(Word),
    /// An identifier in backquotes, as written.
    Quoted(String),
    /// A string literal; its text is of no interest and must not get into logs.
    Literal,
    /// The end of a statement.
    Semicolon,
    /// Any other character.
    Symbol(char),
}

impl Token {
    /// The token as a part of a conf key (`spark.sql.x-y`), if it can be one. Spark tells keys apart by their case.
    pub(super) fn conf_part(&self) -> Option<String> {
        match self {
            Self::Word(word) => Some(word.written.clone()),
            Self::Quoted(text) => Some(text.clone()),
            Self::Symbol(c @ ('.' | '-' | ':')) => Some(c.to_string()),
            Self::Symbol(_) | Self::Literal | Self::Semicolon => None,
        }
    }
}

/// Splits `text` into tokens. Unterminated comments and quotes end with the text.
pub(super) fn tokenize(text: &str) -> Vec<Token> {
    let mut chars = text.chars().peekable();
    let mut tokens = Vec::new();
    while let Some(c) = chars.next() {
        match c {
            c if c.is_whitespace() => {}
            '-' if chars.peek() == Some(&'-') => skip_line(&mut chars),
            '/' if chars.peek() == Some(&'*') => skip_block(&mut chars),
            '\'' | '"' => {
                skip_quoted(&mut chars, c);
                tokens.push(Token::Literal);
            }
            '`' => tokens.push(Token::Quoted(backquoted(&mut chars))),
            ';' => tokens.push(Token::Semicolon),
            c if is_word(c) => tokens.push(Token::Word(word(c, &mut chars))),
            c => tokens.push(Token::Symbol(c)),
        }
    }
    tokens
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn word(first: char, chars: &mut Peekable<Chars<'_>>) -> Word {
    let mut written = first.to_string();
    while let Some(c) = chars.next_if(|c| is_word(*c)) {
        written.push(c);
    }
    let upper = written.to_uppercase();
    Word { upper, written }
}

fn skip_line(chars: &mut Peekable<Chars<'_>>) {
    for c in chars.by_ref() {
        if c == '\n' {
            break;
        }
    }
}

/// Block comments nest in Spark SQL.
fn skip_block(chars: &mut Peekable<Chars<'_>>) {
    chars.next();
    let mut depth = 1;
    while let Some(c) = chars.next() {
        match (c, chars.peek()) {
            ('*', Some('/')) => {
                chars.next();
                depth -= 1;
                if depth == 0 {
                    return;
                }
            }
            ('/', Some('*')) => {
                chars.next();
                depth += 1;
            }
            _ => {}
        }
    }
}

fn skip_quoted(chars: &mut Peekable<Chars<'_>>, quote: char) {
    while let Some(c) = chars.next() {
        match c {
            '\\' => {
                chars.next();
            }
            c if c == quote => return,
            _ => {}
        }
    }
}

fn backquoted(chars: &mut Peekable<Chars<'_>>) -> String {
    let mut name = String::new();
    while let Some(c) = chars.next() {
        if c != '`' {
            name.push(c);
        } else if chars.next_if_eq(&'`').is_some() {
            name.push('`');
        } else {
            break;
        }
    }
    name
}
