//! Lineage classes of SQL statements, decided from their first words.
//!
//! This is not a parser: it reads tokens as far as the class needs. What it does not know is a write, which is
//! recorded and never run twice. Statement kinds after the Spark SQL reference, 3.4 to 4.3.

use crate::lineage::Class;

mod outline;
mod tokens;
mod views;

use outline::Outline;
pub use views::recreate;

/// What a statement does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// The class.
    pub class: Class,
    /// Its first words, for people; never a literal.
    pub what: String,
    /// What it makes or changes of the session, if its text tells: statements with equal, non-empty keys replace each
    /// other. That of a write tells what it did to the session beside what it wrote (`lineage::views`).
    pub key: String,
}

/// Classifies one statement, or a script of several (which is a write unless it is only one). It takes no memory to
/// speak of, however long the text.
pub fn classify(text: &str) -> Statement {
    let outline = Outline::of(text);
    if !outline.is_script {
        return outline.classify();
    }
    let what = "SQL script".to_owned();
    if outline.changes_session {
        return outline.untold(what);
    }
    Statement {
        what,
        ..outline.write()
    }
}

impl Outline<'_> {
    fn read(&self) -> Statement {
        self.statement(Class::Read, String::new())
    }

    fn state(&self, key: String) -> Statement {
        self.statement(Class::State, key)
    }

    fn write(&self) -> Statement {
        self.statement(Class::Write, String::new())
    }

    fn statement(&self, class: Class, key: String) -> Statement {
        let what = self.what();
        Statement { class, what, key }
    }

    fn classify(&self) -> Statement {
        match self.at(0).as_str() {
            "SELECT" | "VALUES" | "TABLE" | "SHOW" | "DESCRIBE" | "DESC" | "EXPLAIN" | "LIST" => self.read(),
            "WITH" | "FROM" | "MAP" | "REDUCE" => self.query_or_insert(),
            "" if self.is_empty() => self.read(),
            "" => self.query_or_insert(),
            "SET" => self.set(),
            "RESET" => self.state(self.conf_key(1)),
            "USE" | "CACHE" | "UNCACHE" | "CLEAR" | "ADD" => self.state(String::new()),
            "REFRESH" | "DECLARE" => self.state(String::new()),
            "CREATE" => self.create(),
            "DROP" => self.drop(),
            "ALTER" => self.alter(),
            "EXECUTE" if self.at(1) == "IMMEDIATE" => self.execute_immediate(),
            _ => self.write(),
        }
    }

    /// `WITH .. SELECT` and `FROM x SELECT` are queries; `WITH .. INSERT` and `FROM x INSERT` write.
    fn query_or_insert(&self) -> Statement {
        if self.writes { self.write() } else { self.read() }
    }

    fn set(&self) -> Statement {
        match (self.at(1).as_str(), self.at(2).as_str()) {
            // What a variable is set to can be a query whose answer changes: it is not replaced, only replayed.
            ("VAR" | "VARIABLE", _) | ("CATALOG", _) => self.state(String::new()),
            ("TIME", "ZONE") => self.state("conf:spark.sql.session.timeZone".to_owned()),
            ("ROLE", _) => self.write(),
            _ if self.assigns => self.state(self.conf_key(1)),
            _ => self.read(),
        }
    }
}

#[cfg(test)]
mod tests;
