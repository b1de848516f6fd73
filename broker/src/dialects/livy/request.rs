//! Request bodies and parameters. Unknown fields are errors, as they are for Livy.

use std::collections::BTreeMap;
use std::num::ParseIntError;

use berth_core::record::Lifetime;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::duration;
use super::lenient::{list, number, text, texts};
use super::refusal::Refusal;

/// Entries on a page of sessions, and lines of a log, unless asked otherwise.
pub const PAGE: i64 = 100;

/// The conf that says how many rows a result of SQL has at most.
const MOST_ROWS: &str = "livy.rsc.sql.num-rows";

/// The body of `POST /sessions`. It is kept with the session, which echoes it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct NewSession {
    /// "pyspark", "sql" or "shared".
    #[serde(deserialize_with = "text")]
    pub kind: Option<String>,
    /// Whom to run as, if impersonation is on.
    #[serde(deserialize_with = "text")]
    pub proxy_user: Option<String>,
    /// Jars.
    #[serde(deserialize_with = "list")]
    pub jars: Vec<String>,
    /// Python files.
    #[serde(deserialize_with = "list")]
    pub py_files: Vec<String>,
    /// Files.
    #[serde(deserialize_with = "list")]
    pub files: Vec<String>,
    /// Archives.
    #[serde(deserialize_with = "list")]
    pub archives: Vec<String>,
    /// `spark.driver.memory`.
    #[serde(deserialize_with = "text")]
    pub driver_memory: Option<String>,
    /// `spark.driver.cores`.
    #[serde(deserialize_with = "number")]
    pub driver_cores: Option<u32>,
    /// `spark.executor.memory`.
    #[serde(deserialize_with = "text")]
    pub executor_memory: Option<String>,
    /// `spark.executor.cores`.
    #[serde(deserialize_with = "number")]
    pub executor_cores: Option<u32>,
    /// `spark.executor.instances`.
    #[serde(deserialize_with = "number")]
    pub num_executors: Option<u32>,
    /// `spark.yarn.queue`.
    #[serde(deserialize_with = "text")]
    pub queue: Option<String>,
    /// A name that no other live session has.
    #[serde(deserialize_with = "text")]
    pub name: Option<String>,
    /// Spark properties.
    #[serde(deserialize_with = "texts")]
    pub conf: BTreeMap<String, String>,
    /// After how long without any call the session ends.
    #[serde(deserialize_with = "number")]
    pub heartbeat_timeout_in_second: Option<u32>,
    /// How long the session lives at most.
    #[serde(deserialize_with = "text")]
    pub ttl: Option<String>,
    /// How long the session may be idle.
    #[serde(deserialize_with = "text")]
    pub idle_timeout: Option<String>,
}

impl NewSession {
    /// Refuses what Berth cannot give: a resource that is silently not there is worse than an error.
    ///
    /// # Errors
    /// [`Refusal::Rejected`] that names the field.
    pub fn check(&self) -> Result<(), Refusal> {
        for time in [&self.ttl, &self.idle_timeout].into_iter().flatten() {
            duration::read(time)?;
        }
        self.most_rows()?;
        match &self.name {
            Some(name) if !is_name(name) => {
                Err(Refusal::Rejected(format!("Invalid session name: {name:.64}")))
            }
            _ => Ok(()),
        }
    }

    /// When the session ends by its client's wish. Times that are none have been refused.
    pub fn lifetime(&self) -> Lifetime {
        let millis = |time: &Option<String>| {
            let read = time.as_deref().and_then(|time| duration::read(time).ok());
            read.map_or(0, |read| u64::try_from(read.as_millis()).unwrap_or(u64::MAX))
        };
        Lifetime {
            idle_millis: millis(&self.idle_timeout),
            uncalled_millis: u64::from(self.heartbeat_timeout_in_second.unwrap_or(0)) * 1000,
            total_millis: millis(&self.ttl),
        }
    }

    /// The most rows of a result of SQL, if the client says so.
    ///
    /// # Errors
    /// [`Refusal::Rejected`] for what is no such number.
    pub fn most_rows(&self) -> Result<Option<u32>, Refusal> {
        let Some(asked) = self.conf.get(MOST_ROWS) else {
            return Ok(None);
        };
        let wrong = |_error: ParseIntError| {
            Refusal::Rejected(format!(
                "{MOST_ROWS} is a whole number from 0 on, not '{asked:.64}'"
            ))
        };
        asked.trim().parse().map(Some).map_err(wrong)
    }

    /// The conf, with the fields that stand for one taken in. They win over `conf`.
    pub fn spark_conf(&self) -> BTreeMap<String, String> {
        let mut conf = self.conf.clone();
        let number = |value: Option<u32>| value.map(|value| value.to_string());
        let fields = [
            ("spark.driver.memory", self.driver_memory.clone()),
            ("spark.driver.cores", number(self.driver_cores)),
            ("spark.executor.memory", self.executor_memory.clone()),
            ("spark.executor.cores", number(self.executor_cores)),
            ("spark.executor.instances", number(self.num_executors)),
            ("spark.yarn.queue", self.queue.clone()),
        ];
        let given = fields
            .into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), value?)));
        conf.extend(given);
        conf
    }
}

/// A name is not empty, not a number (a path could not tell it from an id), and fits a key.
pub(super) fn is_name(name: &str) -> bool {
    let fits = !name.is_empty() && name.len() <= 128 && !name.contains('/');
    fits && !name.chars().all(|c| c.is_ascii_digit()) && !name.chars().any(char::is_control)
}

/// The body of `POST /sessions/{id}/statements`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewStatement {
    /// The code.
    pub code: String,
    /// Its kind, if not the session's.
    #[serde(default)]
    pub kind: Option<String>,
}

/// The body of `POST /sessions/{id}/completion`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Completion {
    /// The code.
    pub code: String,
    /// Its kind, if not the session's.
    #[serde(default)]
    pub kind: Option<String>,
    /// Where the cursor is in it.
    #[serde(default, deserialize_with = "number")]
    pub cursor: Option<u32>,
}

/// Reads a body, whatever its content type says, as Livy does.
///
/// # Errors
/// [`Refusal::Malformed`] with the parser's message.
pub fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| Refusal::Malformed(error.to_string()))
}

/// Query parameters of listings. They come as text, since Livy answers a bad number in its own words.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Range {
    from: Option<String>,
    size: Option<String>,
    order: Option<String>,
}

impl Range {
    /// `from`.
    ///
    /// # Errors
    /// [`Refusal::Malformed`] in Livy's words.
    pub fn from(&self) -> Result<Option<i64>, Refusal> {
        self.from.as_deref().map(integer).transpose()
    }

    /// `size`.
    ///
    /// # Errors
    /// [`Refusal::Malformed`] in Livy's words.
    pub fn size(&self) -> Result<Option<i64>, Refusal> {
        self.size.as_deref().map(integer).transpose()
    }

    /// True when the newest comes first.
    pub fn is_descending(&self) -> bool {
        self.order
            .as_deref()
            .is_some_and(|order| order.trim().eq_ignore_ascii_case("desc"))
    }
}

/// Reads a number of a path or a query.
///
/// # Errors
/// [`Refusal::Malformed`] in Livy's words.
pub fn integer(text: &str) -> Result<i64, Refusal> {
    let parsed = text.parse::<i32>().map(i64::from);
    parsed.map_err(|error| Refusal::Malformed(format!("For input string: \"{text:.64}\" ({error})")))
}

/// The entries from index `from`; a negative one counts as 0, a negative size as none.
pub fn slice<T>(entries: Vec<T>, from: i64, size: i64) -> Vec<T> {
    let clamp = |value: i64| usize::try_from(value.max(0)).unwrap_or(usize::MAX);
    entries.into_iter().skip(clamp(from)).take(clamp(size)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_lenient_clients_send() {
        // livy#17
        let body = br#"{"conf":{"a":1,"b":true,"c":null},"driverCores":"2","jars":null,"driverMemory":"1g",
            "executorMemory":2048,"queue":null,"files":[1,"x"]}"#;
        let new: NewSession = read(body).unwrap();
        assert_eq!(new.driver_cores, Some(2));
        assert_eq!(
            (new.files.clone(), new.queue.clone()),
            (vec!["1".to_owned(), "x".to_owned()], None)
        );
        let conf = new.spark_conf();
        assert_eq!((conf["a"].as_str(), conf["b"].as_str()), ("1", "true"));
        assert_eq!(
            (conf.get("c"), conf["spark.executor.memory"].as_str()),
            (None, "2048")
        );
        assert_eq!(conf["spark.driver.memory"], "1g");
    }

    #[test]
    fn refuses_what_livy_refuses() {
        for body in [
            "",
            "{",
            r#"{"heartbeatTimeoutInSecs":1}"#,
            r#"{"jars":"a.jar"}"#,
            r#"{"conf":{"a":[]}}"#,
            r#"{"jars":[null]}"#,
            r#"{"queue":{}}"#,
        ] {
            assert!(read::<NewSession>(body.as_bytes()).is_err(), "{body}");
        }
        for name in ["", "12", "a/b"] {
            let new = NewSession {
                name: Some(name.to_owned()),
                ..NewSession::default()
            };
            assert!(new.check().is_err(), "{name}");
        }
    }

    #[test]
    fn pages_are_cut_as_livy_cuts_them() {
        let all = || vec![0, 1, 2];
        assert_eq!(slice(all(), 1, 1), [1]);
        assert_eq!(slice(all(), -5, 2), [0, 1]);
        assert!(slice(all(), 0, -1).is_empty());
        assert!(slice(all(), 99, 100).is_empty());
        assert!(integer("abc").is_err());
        assert!(integer("99999999999").is_err());
    }
}
