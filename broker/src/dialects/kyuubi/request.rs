//! Bodies and queries of requests: Kyuubi's own, and the short forms that articles use.
//!
//! Values are taken as Kyuubi's own reader of JSON takes them: `"60"` and `60.0` for a number, `"true"` for a truth
//! value, a number for a text.

mod lenient;

use std::collections::BTreeMap;
use std::time::Duration;

use axum::extract::rejection::BytesRejection;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;

pub(super) use self::lenient::{text, texts, words};
use super::refusal::Refusal;
use crate::dialects::sql::Statement;
use crate::dialects::sql::cursor::Orientation;
use crate::dialects::sql::failure::Failure;
use crate::dialects::sql::metadata::Question;

/// Rows and lines that a client fetches at once if it does not say.
const FETCHED: i64 = 100;
/// Rows of one fetch, whatever the client says: pages are bounded by their bytes before that.
const MAX_FETCHED: i64 = 1_000_000;

/// A body of JSON; nothing at all, `""` and `null` are an empty object.
///
/// # Errors
/// [`Refusal::TooLarge`], [`Refusal::NotJson`] or [`Refusal::Malformed`].
pub(super) fn read<T: DeserializeOwned + Default>(
    headers: &HeaderMap,
    most: usize,
    body: Result<Bytes, BytesRejection>,
) -> Result<T, Refusal> {
    let body = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Refusal::TooLarge(most),
        _ => Refusal::Malformed(rejection.to_string()),
    })?;
    let text = body.trim_ascii();
    if matches!(text, b"" | b"\"\"" | b"null") {
        return Ok(T::default());
    }
    if let Some(media) = headers.get(CONTENT_TYPE) {
        let media = String::from_utf8_lossy(media.as_bytes());
        if !media.to_ascii_lowercase().starts_with("application/json") {
            return Err(Refusal::NotJson(media.chars().take(100).collect()));
        }
    }
    serde_json::from_slice(text)
        .map_err(|error| Refusal::Malformed(format!("the body is not what this call takes: {error}")))
}

/// What opens a session.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct NewSession {
    /// The version of the protocol, as Thrift numbers them.
    #[serde(deserialize_with = "lenient::number")]
    pub(super) protocol_version: Option<i32>,
    #[serde(deserialize_with = "lenient::texts")]
    configs: BTreeMap<String, String>,
    /// The short form.
    #[serde(deserialize_with = "lenient::texts")]
    conf: BTreeMap<String, String>,
}

impl NewSession {
    /// The confs of both forms; Kyuubi's own counts where both have a key.
    pub(super) fn confs(&mut self) -> BTreeMap<String, String> {
        let mut confs = std::mem::take(&mut self.conf);
        confs.append(&mut self.configs);
        confs
    }
}

/// What runs a statement.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct NewStatement {
    #[serde(deserialize_with = "lenient::text")]
    statement: Option<String>,
    /// The short form.
    #[serde(deserialize_with = "lenient::text")]
    code: Option<String>,
    #[serde(deserialize_with = "lenient::flag")]
    run_async: Option<bool>,
    /// Seconds.
    #[serde(deserialize_with = "lenient::number")]
    query_timeout: Option<i64>,
    #[serde(deserialize_with = "lenient::texts")]
    conf_overlay: BTreeMap<String, String>,
}

impl NewStatement {
    /// True where the answer does not wait for the end of the statement.
    pub(super) fn runs_async(&self) -> bool {
        self.run_async.unwrap_or_default()
    }

    /// The statement for the engine.
    ///
    /// # Errors
    /// There is no text.
    pub(super) fn into_statement(self) -> Result<Statement, Refusal> {
        let none =
            || Refusal::Malformed("the body has no statement; send {\"statement\": \"SELECT 1\"}".to_owned());
        let seconds = self.query_timeout.and_then(|seconds| u64::try_from(seconds).ok());
        Ok(Statement {
            text: self.statement.or(self.code).ok_or_else(none)?,
            overlay: self.conf_overlay.into_iter().collect(),
            limit: seconds.filter(|seconds| *seconds > 0).map(Duration::from_secs),
        })
    }
}

/// What a question about the catalog names.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Names {
    #[serde(deserialize_with = "lenient::text")]
    catalog_name: Option<String>,
    #[serde(deserialize_with = "lenient::text")]
    schema_name: Option<String>,
    #[serde(deserialize_with = "lenient::text")]
    table_name: Option<String>,
    #[serde(deserialize_with = "lenient::list")]
    table_types: Option<Vec<String>>,
    #[serde(deserialize_with = "lenient::text")]
    column_name: Option<String>,
    #[serde(deserialize_with = "lenient::text")]
    function_name: Option<String>,
}

impl Names {
    /// The question of a call, with the name that it has in logs; `None` for a call that is none.
    pub(super) fn question(self, call: &str) -> Option<(&'static str, Question)> {
        let (catalog, schema) = (self.catalog_name, self.schema_name);
        Some(match call {
            "typeInfo" => ("GetTypeInfo", Question::TypeInfo),
            "catalogs" => ("GetCatalogs", Question::Catalogs),
            "tableTypes" => ("GetTableTypes", Question::TableTypes),
            "schemas" => ("GetSchemas", Question::Schemas { catalog, schema }),
            "tables" => {
                let (table, types) = (self.table_name, self.table_types);
                (
                    "GetTables",
                    Question::Tables {
                        catalog,
                        schema,
                        table,
                        types,
                    },
                )
            }
            "columns" => {
                let (table, column) = (self.table_name, self.column_name);
                (
                    "GetColumns",
                    Question::Columns {
                        catalog,
                        schema,
                        table,
                        column,
                    },
                )
            }
            "functions" => {
                let function = self.function_name;
                (
                    "GetFunctions",
                    Question::Functions {
                        catalog,
                        schema,
                        function,
                    },
                )
            }
            _ => return None,
        })
    }
}

/// What is done to an operation.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Action {
    #[serde(deserialize_with = "lenient::text")]
    action: Option<String>,
}

impl Action {
    /// The action in small letters; empty if there is none.
    pub(super) fn name(&self) -> String {
        self.action.as_deref().unwrap_or_default().to_ascii_lowercase()
    }
}

/// Which rows or lines are wanted.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Range {
    maxrows: Option<String>,
    fetchorientation: Option<String>,
}

impl Range {
    /// How many; none is a number, too.
    ///
    /// # Errors
    /// Not a number, or less than none.
    pub(super) fn most(&self) -> Result<usize, Refusal> {
        let wrong = || Refusal::Malformed("maxrows is how many rows are wanted: a number from 0".to_owned());
        let asked = self.maxrows.as_deref().filter(|text| !text.is_empty());
        let asked = asked.map_or(Ok(FETCHED), |text| text.parse::<i64>().map_err(|_odd| wrong()))?;
        usize::try_from(asked.min(MAX_FETCHED)).map_err(|_below_zero| wrong())
    }

    /// From where, for rows.
    ///
    /// # Errors
    /// An unknown name, or a place where rows cannot be fetched from.
    pub(super) fn orientation(&self) -> Result<Orientation, Refusal> {
        match self.fetchorientation.as_deref().unwrap_or("FETCH_NEXT") {
            "FETCH_NEXT" | "" => Ok(Orientation::Next),
            "FETCH_PRIOR" => Ok(Orientation::Prior),
            "FETCH_FIRST" => Ok(Orientation::First),
            "FETCH_RELATIVE" | "FETCH_ABSOLUTE" | "FETCH_LAST" => {
                let text = "rows are fetched with FETCH_NEXT, FETCH_PRIOR or FETCH_FIRST";
                Err(Refusal::of_operation(
                    "Error fetching rows",
                    Failure::unsupported(text),
                ))
            }
            other => {
                let other: String = other.chars().take(100).collect();
                Err(Refusal::Malformed(format!(
                    "{other} is no orientation; use FETCH_NEXT, FETCH_PRIOR or FETCH_FIRST"
                )))
            }
        }
    }

    /// True to read a log from its start again.
    ///
    /// # Errors
    /// An orientation that logs do not have.
    pub(super) fn rewinds(&self) -> Result<bool, Refusal> {
        match self.fetchorientation.as_deref().unwrap_or("FETCH_NEXT") {
            "FETCH_NEXT" | "" => Ok(false),
            "FETCH_FIRST" => Ok(true),
            other => {
                let other: String = other.chars().take(100).collect();
                Err(Refusal::Malformed(format!(
                    "{other} in operation log is not supported; use FETCH_NEXT or FETCH_FIRST"
                )))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body<T: DeserializeOwned + Default>(text: &str) -> Result<T, Refusal> {
        read(
            &HeaderMap::new(),
            1000,
            Ok(Bytes::copy_from_slice(text.as_bytes())),
        )
    }

    #[test]
    fn sessions_are_opened_in_both_forms() {
        // kyuubi#11, kyuubi#14
        for empty in ["", "\"\"", "null", "{}", " \n"] {
            assert!(body::<NewSession>(empty).unwrap().confs().is_empty(), "{empty}");
        }
        let text = r#"{"protocolVersion": null, "user": "x", "configs": {"a": 1, "b": null}, "conf": {"a": "0", "c": true}}"#;
        let mut new = body::<NewSession>(text).unwrap();
        let confs: Vec<_> = new
            .confs()
            .into_iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        assert_eq!(
            (new.protocol_version, confs),
            (None, vec!["a=1".to_owned(), "c=true".to_owned()])
        );
        assert!(matches!(body::<NewSession>("{"), Err(Refusal::Malformed(_))));
        assert!(matches!(
            body::<NewSession>(r#"{"configs": {"a": []}}"#),
            Err(Refusal::Malformed(_))
        ));
    }

    #[test]
    fn forms_of_browsers_are_refused() {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, http::HeaderValue::from_static("text/plain"));
        let sent = read::<NewSession>(&headers, 1000, Ok(Bytes::from_static(b"{\"conf\": {}}")));
        assert!(matches!(sent, Err(Refusal::NotJson(_))));
    }

    #[test]
    fn statements_come_in_both_forms() {
        // kyuubi#20, kyuubi#21
        let text =
            r#"{"statement": "select 1", "runAsync": true, "queryTimeout": null, "confOverlay": {"k": "v"}}"#;
        let new = body::<NewStatement>(text).unwrap();
        assert!(new.runs_async());
        let statement = new.into_statement().unwrap();
        assert_eq!((statement.text.as_str(), statement.limit), ("select 1", None));
        assert_eq!(statement.overlay, [("k".to_owned(), "v".to_owned())]);
        let short = body::<NewStatement>(r#"{"code": "SELECT 2", "queryTimeout": 3}"#).unwrap();
        assert!(!short.runs_async());
        let statement = short.into_statement().unwrap();
        assert_eq!(
            (statement.text.as_str(), statement.limit),
            ("SELECT 2", Some(Duration::from_secs(3)))
        );
        assert!(body::<NewStatement>("").unwrap().into_statement().is_err());
        let odd = r#"{"statement": "select 1", "runAsync": "true", "queryTimeout": "60"}"#;
        let odd = body::<NewStatement>(odd).unwrap();
        assert!(odd.runs_async());
        assert_eq!(odd.into_statement().unwrap().limit, Some(Duration::from_secs(60)));
    }

    #[test]
    fn ranges_say_how_many_and_from_where() {
        // kyuubi#31, kyuubi#32, kyuubi#33
        let range = |most: Option<&str>, from: Option<&str>| Range {
            maxrows: most.map(str::to_owned),
            fetchorientation: from.map(str::to_owned),
        };
        assert_eq!(range(None, None).most(), Ok(100));
        assert_eq!(range(Some("7"), None).most(), Ok(7));
        assert_eq!(range(Some("0"), None).most(), Ok(0));
        assert!(range(Some("x"), None).most().is_err() && range(Some("-1"), None).most().is_err());
        assert_eq!(
            range(None, Some("FETCH_FIRST")).orientation(),
            Ok(Orientation::First)
        );
        assert_eq!(
            range(None, Some("FETCH_PRIOR")).orientation(),
            Ok(Orientation::Prior)
        );
        let nonsense = range(None, Some("NONSENSE"));
        assert!(matches!(nonsense.orientation(), Err(Refusal::Malformed(_))));
        assert!(matches!(
            range(None, Some("FETCH_PRIOR")).rewinds(),
            Err(Refusal::Malformed(_))
        ));
        assert_eq!(range(None, Some("FETCH_FIRST")).rewinds(), Ok(true));
    }

    #[test]
    fn questions_have_the_names_of_their_calls() {
        // kyuubi#38, kyuubi#39, kyuubi#40, kyuubi#42
        let names = || body::<Names>(r#"{"schemaName": "def%", "tableTypes": ["VIEW"]}"#).unwrap();
        let (name, question) = names().question("tables").unwrap();
        let wanted = Question::Tables {
            catalog: None,
            schema: Some("def%".to_owned()),
            table: None,
            types: Some(vec!["VIEW".to_owned()]),
        };
        assert_eq!((name, question), ("GetTables", wanted));
        assert_eq!(names().question("primaryKeys"), None);
    }
}
