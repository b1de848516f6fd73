//! Livy's kinds of code.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::refusal::Refusal;

/// What language a statement is in; of a session, what its statements are in unless they say otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Scala.
    Spark,
    /// Python.
    Pyspark,
    /// R. Drivers have no R: its statements end in an error that says so.
    Sparkr,
    /// SQL.
    Sql,
    /// Every statement says for itself. Only of sessions.
    Shared,
}

impl Kind {
    /// The wire form, which is also the agent's.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Spark => "spark",
            Self::Pyspark => "pyspark",
            Self::Sparkr => "sparkr",
            Self::Sql => "sql",
            Self::Shared => "shared",
        }
    }

    /// The kind of a statement in a session of this kind.
    ///
    /// # Errors
    /// [`Refusal::Malformed`] when neither says one.
    pub fn of_statement(self, own: Option<Kind>) -> Result<Kind, Refusal> {
        match own.unwrap_or(self) {
            Self::Shared => {
                let text = "the session is shared, so each statement needs a kind: \"spark\", \"pyspark\", \
                            \"sparkr\" or \"sql\"";
                Err(Refusal::Malformed(text.to_owned()))
            }
            kind @ (Self::Spark | Self::Pyspark | Self::Sparkr | Self::Sql) => Ok(kind),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        match text {
            "spark" | "scala" => Ok(Self::Spark),
            "pyspark" | "python" => Ok(Self::Pyspark),
            "sparkr" | "r" => Ok(Self::Sparkr),
            "sql" => Ok(Self::Sql),
            "shared" => Ok(Self::Shared),
            _ => Err(Refusal::Malformed(format!("Invalid kind: {:.64}", text))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_are_read_and_the_rest_is_refused_with_a_reason() {
        // livy#15, #16
        for (alias, name) in [
            ("python", "pyspark"),
            ("scala", "spark"),
            ("r", "sparkr"),
            ("sql", "sql"),
        ] {
            assert_eq!(alias.parse::<Kind>().map(Kind::as_str), Ok(name));
            assert_eq!(name.parse::<Kind>().map(Kind::as_str), Ok(name));
        }
        assert!(matches!("pyspark3".parse::<Kind>(), Err(Refusal::Malformed(_))));
    }

    #[test]
    fn a_statement_needs_a_kind_of_its_own_in_a_shared_session() {
        assert!(Kind::Shared.of_statement(None).is_err());
        assert!(Kind::Pyspark.of_statement(Some(Kind::Shared)).is_err());
        assert_eq!(Kind::Shared.of_statement(Some(Kind::Sql)), Ok(Kind::Sql));
        assert_eq!(Kind::Pyspark.of_statement(None), Ok(Kind::Pyspark));
    }
}
