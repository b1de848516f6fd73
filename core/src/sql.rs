//! Lineage classes of SQL statements, decided from their first words.
//!
//! This is not a parser: it reads tokens as far as the class needs. What it does not know is a write, which is
//! recorded and never run twice. Statement kinds after the Spark SQL reference, 3.4 to 4.3.

use crate::lineage::Class;

mod tokens;

use tokens::{Token, tokenize};

/// What a statement does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// The class.
    pub class: Class,
    /// Its first words, for people; never a literal.
    pub what: String,
    /// Statements with equal, non-empty keys replace each other.
    pub key: String,
}

/// Classifies one statement, or a script of several (which is a write unless it is only one).
pub fn classify(text: &str) -> Statement {
    let tokens = tokenize(text);
    let end = tokens
        .iter()
        .position(|token| *token == Token::Semicolon)
        .unwrap_or(tokens.len());
    if tokens
        .get(end + 1)
        .is_some_and(|token| *token != Token::Semicolon)
    {
        return statement(Class::Write, "SQL script", String::new());
    }
    Words(&tokens[..end]).classify()
}

fn statement(class: Class, what: impl Into<String>, key: String) -> Statement {
    Statement {
        class,
        what: what.into(),
        key,
    }
}

/// The tokens of one statement.
#[derive(Debug, Clone, Copy)]
struct Words<'a>(&'a [Token]);

impl Words<'_> {
    /// The keyword at a position, in upper case; empty where there is none.
    fn at(&self, position: usize) -> &str {
        match self.0.get(position) {
            Some(Token::Word(word)) => &word.upper,
            _ => "",
        }
    }

    fn has(&self, word: &str) -> bool {
        self.0
            .iter()
            .any(|token| matches!(token, Token::Word(found) if found.upper == word))
    }

    /// The identifier, possibly qualified, that starts at a position; in lower case.
    fn name(&self, position: usize) -> String {
        let mut name = String::new();
        for token in self.0.get(position..).unwrap_or_default() {
            match token {
                Token::Word(part) => name.push_str(&part.upper.to_lowercase()),
                Token::Quoted(part) => name.push_str(&part.to_lowercase()),
                Token::Symbol('.') => name.push('.'),
                Token::Symbol(_) | Token::Literal | Token::Semicolon => break,
            }
            if matches!(token, Token::Word(_) | Token::Quoted(_)) && !self.dot_follows(position, &name) {
                break;
            }
        }
        name
    }

    fn dot_follows(&self, position: usize, so_far: &str) -> bool {
        let consumed = 2 * so_far.matches('.').count() + 1;
        self.0.get(position + consumed) == Some(&Token::Symbol('.'))
    }

    fn what(&self) -> String {
        let words = self.0.iter().map_while(|token| match token {
            Token::Word(word) => Some(word.upper.as_str()),
            Token::Quoted(_) | Token::Symbol(_) | Token::Literal | Token::Semicolon => None,
        });
        words.take(4).collect::<Vec<_>>().join(" ")
    }

    fn read(&self) -> Statement {
        statement(Class::Read, self.what(), String::new())
    }

    fn state(&self, key: String) -> Statement {
        statement(Class::State, self.what(), key)
    }

    fn write(&self) -> Statement {
        statement(Class::Write, self.what(), String::new())
    }

    fn classify(&self) -> Statement {
        match self.at(0) {
            "SELECT" | "VALUES" | "TABLE" | "SHOW" | "DESCRIBE" | "DESC" | "EXPLAIN" | "LIST" => self.read(),
            "WITH" | "FROM" | "MAP" | "REDUCE" => self.query_or_insert(),
            "" if self.0.is_empty() => self.read(),
            "" => self.query_or_insert(),
            "SET" => self.set(),
            "RESET" => self.state(self.conf_key(1)),
            "USE" | "CACHE" | "UNCACHE" | "CLEAR" | "ADD" => self.state(String::new()),
            "REFRESH" => self.state(String::new()),
            "DECLARE" => self.declare(),
            "CREATE" => self.create(),
            "DROP" => self.drop(),
            _ => self.write(),
        }
    }

    /// `WITH .. SELECT` and `FROM x SELECT` are queries; `WITH .. INSERT` and `FROM x INSERT` write.
    fn query_or_insert(&self) -> Statement {
        let writes = ["INSERT", "MERGE", "UPDATE", "DELETE"];
        if writes.iter().any(|word| self.has(word)) {
            self.write()
        } else {
            self.read()
        }
    }

    fn set(&self) -> Statement {
        match (self.at(1), self.at(2)) {
            // What a variable is set to can be a query whose answer changes: it is not replaced, only replayed.
            ("VAR" | "VARIABLE", _) | ("CATALOG", _) => self.state(String::new()),
            ("TIME", "ZONE") => self.state("conf:spark.sql.session.timeZone".to_owned()),
            ("ROLE", _) => self.write(),
            _ if self.0.contains(&Token::Symbol('=')) => self.state(self.conf_key(1)),
            _ => self.read(),
        }
    }

    fn conf_key(&self, position: usize) -> String {
        let name: String = self
            .0
            .get(position..)
            .unwrap_or_default()
            .iter()
            .map_while(Token::conf_part)
            .collect();
        if name.is_empty() {
            String::new()
        } else {
            format!("conf:{name}")
        }
    }

    fn declare(&self) -> Statement {
        self.state(String::new())
    }

    /// Only what is temporary belongs to the session.
    fn create(&self) -> Statement {
        let after_replace = if (self.at(1), self.at(2)) == ("OR", "REPLACE") {
            3
        } else {
            1
        };
        let (global, temporary) = match self.at(after_replace) {
            "GLOBAL" => (true, after_replace + 1),
            _ => (false, after_replace),
        };
        if !matches!(self.at(temporary), "TEMP" | "TEMPORARY") {
            return self.write();
        }
        let kind = self.at(temporary + 1);
        let not_exists = (self.at(temporary + 2), self.at(temporary + 3)) == ("IF", "NOT");
        let name = self.name(temporary + if not_exists { 5 } else { 2 });
        match (kind, global) {
            ("VIEW", true) => self.state(format!("gview:{name}")),
            ("VIEW", false) => self.state(format!("view:{name}")),
            ("FUNCTION", _) => self.state(format!("udf:{name}")),
            _ => self.state(String::new()),
        }
    }

    /// Whether a dropped view was temporary cannot be told from the text. The statement is never run again; its key
    /// lets the recovery drop a temporary view of that name, and nothing else (`lineage::replay`).
    fn drop(&self) -> Statement {
        match self.at(1) {
            "TEMPORARY" | "TEMP" => self.state(String::new()),
            "VIEW" => {
                let name = self.name(if self.at(2) == "IF" { 4 } else { 2 });
                Statement {
                    key: format!("view:{name}"),
                    ..self.write()
                }
            }
            _ => self.write(),
        }
    }
}

#[cfg(test)]
mod tests;
