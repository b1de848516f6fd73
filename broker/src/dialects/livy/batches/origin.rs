//! A batch that came over Kyuubi's API: what its clients are shown beside what every batch has.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What an application is, as Kyuubi's clients say it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Type {
    /// A jar with a main class.
    #[default]
    Spark,
    /// A Python file.
    Pyspark,
}

impl Type {
    /// The name that clients are shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Spark => "SPARK",
            Self::Pyspark => "PYSPARK",
        }
    }

    /// The type of a name, in capitals or not.
    pub fn of(name: &str) -> Option<Self> {
        [Self::Spark, Self::Pyspark]
            .into_iter()
            .find(|known| known.as_str().eq_ignore_ascii_case(name))
    }
}

/// Where it comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Its client's id of it.
    pub id: Uuid,
    /// What it is.
    #[serde(rename = "type")]
    pub kind: Type,
    /// Its name. Others may have the same.
    pub name: Option<String>,
    /// Who submitted it; its owner is whom they act for.
    pub real_user: String,
    /// Where its client called from.
    pub client_ip: String,
    /// Under which address it called.
    pub instance: String,
    /// What was not heeded: the first lines of its log.
    pub notes: Vec<String>,
}
