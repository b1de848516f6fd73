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

/// Splits `text` into tokens, at the places where Spark's own lexer (`SqlBaseLexer.g4`) does. Unterminated comments and
/// quotes end with the text.
pub(super) fn tokenize(text: &str) -> Vec<Token> {
    let mut chars = text.chars().peekable();
    let mut tokens = Vec::new();
    while let Some(c) = chars.next() {
        match c {
            c if c.is_whitespace() => {}
            '-' if chars.peek() == Some(&'-') => skip_line(&mut chars),
            '/' if begins_comment(&chars) => skip_block(&mut chars),
            '\'' | '"' => {
                skip_quoted(&mut chars, c);
                tokens.push(Token::Literal);
            }
            '`' => tokens.push(Token::Quoted(backquoted(&mut chars))),
            ';' => tokens.push(Token::Semicolon),
            c if is_word(c) => {
                let word = word(c, &mut chars);
                let quote = chars.next_if(|c| word.upper == "R" && matches!(c, '\'' | '"'));
                tokens.push(quote.map_or(Token::Word(word), |quote| {
                    // A raw string: nothing in it is an escape.
                    chars.by_ref().find(|c| *c == quote);
                    Token::Literal
                }));
            }
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

/// A backslash at the end of a line continues its comment.
fn skip_line(chars: &mut Peekable<Chars<'_>>) {
    while let Some(c) = chars.next() {
        let goes_on = c == '\\' && chars.next_if_eq(&'\n').is_some();
        if !goes_on && matches!(c, '\r' | '\n') {
            break;
        }
    }
}

/// True behind the slash of a comment. A hint is none: its words are tokens as others are.
fn begins_comment(behind: &Peekable<Chars<'_>>) -> bool {
    let mut ahead = behind.clone();
    ahead.next() == Some('*') && ahead.next() != Some('+')
}

/// Block comments nest in Spark SQL, but for what would be a hint.
fn skip_block(chars: &mut Peekable<Chars<'_>>) {
    chars.next();
    let mut depth = 1;
    while let Some(c) = chars.next() {
        match c {
            '*' if chars.next_if_eq(&'/').is_some() => {
                depth -= 1;
                if depth == 0 {
                    return;
                }
            }
            '/' if begins_comment(chars) => {
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
