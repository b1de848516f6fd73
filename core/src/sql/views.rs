//! Keys of what a statement does to temporary views, and of what cannot be told.
//!
//! Spark looks for a temporary view first, whether it is asked to drop a table, to drop a view or to alter one. Whether
//! it found one cannot be told from the text: the recovery knows by what the session made before (`lineage::replay`).

use super::Statement;
use super::outline::Outline;
use super::tokens::{Token, Tokens};
use crate::lineage::Class;
use crate::lineage::views::{ALTERED, RENAMED, UNTOLD};

impl Outline<'_> {
    /// `CREATE`: only what is temporary belongs to the session.
    pub(super) fn create(&self) -> Statement {
        let replaces = (self.at(1).as_str(), self.at(2).as_str()) == ("OR", "REPLACE");
        let after_replace = if replaces { 3 } else { 1 };
        let is_global = self.at(after_replace) == "GLOBAL";
        let temporary = after_replace + usize::from(is_global);
        if !matches!(self.at(temporary).as_str(), "TEMP" | "TEMPORARY") {
            return self.write();
        }
        let at = temporary + 2;
        let unless_exists = (self.at(at).as_str(), self.at(at + 1).as_str()) == ("IF", "NOT");
        let name = self.name(if unless_exists { at + 3 } else { at });
        let kind = match self.at(temporary + 1).as_str() {
            "VIEW" if is_global => "gview",
            // A temporary table over a data source is a view, too.
            "VIEW" | "TABLE" => "view",
            "FUNCTION" => "udf",
            _ => return self.state(String::new()),
        };
        self.state(name.map_or_else(String::new, |name| format!("{kind}:{}", made(&name))))
    }

    /// `DROP`: the statement is never run again; its key lets the recovery drop a temporary view of that name, and
    /// nothing else.
    pub(super) fn drop(&self) -> Statement {
        match self.at(1).as_str() {
            "TEMPORARY" | "TEMP" => self.state(String::new()),
            "VIEW" | "TABLE" => match self.name(if self.at(2) == "IF" { 4 } else { 2 }) {
                Some(name) => self.keyed_write(temporary(&name).unwrap_or_default()),
                None => self.untold(self.what()),
            },
            _ => self.write(),
        }
    }

    /// `ALTER`: of a temporary view, what it is made of and its name can be altered, the name as that of a table, too.
    pub(super) fn alter(&self) -> Statement {
        let is_view = match self.at(1).as_str() {
            "VIEW" => true,
            "TABLE" => false,
            _ => return self.write(),
        };
        let Some(name) = self.name(2) else {
            return if is_view {
                self.untold(self.what())
            } else {
                self.write()
            };
        };
        let behind = 2 * name.len() + 1;
        let renames = (self.at(behind).as_str(), self.at(behind + 1).as_str()) == ("RENAME", "TO");
        match temporary(&name) {
            Some(view) if renames => self.keyed_write(format!("{RENAMED}{view}")),
            Some(view) if is_view => self.keyed_write(format!("{ALTERED}{view}")),
            _ => self.write(),
        }
    }

    /// `EXECUTE IMMEDIATE` does what the statement in it does, if that is a literal and its result goes nowhere.
    pub(super) fn execute_immediate(&self) -> Statement {
        let plain = match self.token(2) {
            Some(Token::Literal(text)) if !text.contains('\\') => Some(text),
            _ => None,
        };
        let is_all = self.token(3).is_none() || self.at(3) == "USING";
        let Some(inner) = plain.filter(|_| is_all).map(super::classify) else {
            return self.untold("EXECUTE IMMEDIATE".to_owned());
        };
        let what = format!("EXECUTE IMMEDIATE {}", inner.what);
        match inner.class {
            Class::State | Class::Pinned => self.untold(what),
            Class::Read | Class::Write => Statement {
                what,
                ..self.keyed_write(inner.key)
            },
        }
    }

    /// A write that may have changed the session, and whose text does not tell how.
    pub(super) fn untold(&self, what: String) -> Statement {
        Statement {
            key: format!("{UNTOLD}{what}"),
            what,
            ..self.write()
        }
    }

    fn keyed_write(&self, key: String) -> Statement {
        Statement { key, ..self.write() }
    }
}

/// The name of what is made: Spark from 4.2 takes temporary views with the schema that they are in.
fn made(name: &[String]) -> String {
    match name {
        [schema, name] if schema == "session" => name.clone(),
        [catalog, schema, name] if catalog == "system" && schema == "session" => name.clone(),
        _ => name.join("."),
    }
}

/// The key of the temporary view that may have this name; `None` if none can. To Spark before 4.2 `session.v` is a
/// table in a database, and it is taken for one.
fn temporary(name: &[String]) -> Option<String> {
    match name {
        [name] => Some(format!("view:{name}")),
        [schema, name] if schema == "global_temp" => Some(format!("gview:{name}")),
        [catalog, schema, name] if catalog == "system" && schema == "session" => Some(format!("view:{name}")),
        _ => None,
    }
}

/// The statement that makes a temporary view as `ALTER VIEW name AS query` left it; `None` for any other text. It
/// cannot reach a permanent view, whatever is there.
pub fn recreate(text: &str) -> Option<String> {
    let mut tokens = Tokens::of(text);
    if !(tokens.next()?.is("ALTER") && tokens.next()?.is("VIEW")) {
        return None;
    }
    let (parts, name) = altered(&mut tokens)?;
    let is_global = temporary(&parts)?.starts_with("gview:");
    let scope = if is_global {
        "GLOBAL TEMPORARY"
    } else {
        "TEMPORARY"
    };
    let before = tokens.rest();
    let query = if tokens.next()?.is("AS") {
        tokens.rest()
    } else {
        before
    };
    Some(format!("CREATE OR REPLACE {scope} VIEW {name} AS {query}"))
}

/// The parts of the name that comes next, in lower case, and the text of the last one.
fn altered<'a>(tokens: &mut Tokens<'a>) -> Option<(Vec<String>, &'a str)> {
    let mut parts = Vec::new();
    loop {
        let from = tokens.rest();
        let token = tokens.next()?;
        parts.push(token.name_part()?.to_lowercase());
        let part = from.strip_suffix(tokens.rest())?;
        let mut ahead = tokens.clone();
        match ahead.next()? {
            Token::Symbol('.') => *tokens = ahead,
            Token::Symbol('(') if token.is("IDENTIFIER") => return None,
            _ => return Some((parts, part)),
        }
    }
}
