//! Livy's kinds of code.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::refusal::Refusal;

/// What language a statement is in; of a session, what its statements are in unless they say otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Python.
    Pyspark,
    /// SQL.
    Sql,
    /// Every statement says for itself. Only of sessions.
    Shared,
}

impl Kind {
    /// The wire form, which is also the agent's.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pyspark => "pyspark",
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
                let text = "the session is shared, so each statement needs a kind: \"pyspark\" or \"sql\"";
                Err(Refusal::Malformed(text.to_owned()))
            }
            kind @ (Self::Pyspark | Self::Sql) => Ok(kind),
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
            "pyspark" | "python" => Ok(Self::Pyspark),
            "sql" => Ok(Self::Sql),
            "shared" => Ok(Self::Shared),
            "spark" | "scala" | "sparkr" | "r" => Err(Refusal::Rejected(format!(
                "kind {text} is not served yet: use pyspark or sql"
            ))),
            _ => Err(Refusal::Malformed(format!("Invalid kind: {:.64}", text))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_are_read_and_the_rest_is_refused_with_a_reason() {
        assert_eq!("python".parse(), Ok(Kind::Pyspark));
        assert!(matches!("spark".parse::<Kind>(), Err(Refusal::Rejected(_))));
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
