//! What a client asks for with one statement.

use super::{Opening, quoted, set_catalog};
use crate::dialects::sql::failure::Failure;

/// The key under which a client asks for a statement's plan instead of its run.
pub(super) const PLAN_ONLY: &str = "kyuubi.operation.plan.only.mode";

/// A statement to run.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Its text.
    pub(crate) text: String,
    /// Confs that are for it alone.
    pub(crate) confs: Vec<(String, String)>,
    /// What is not heeded, for its log.
    pub(crate) notes: Vec<String>,
}

/// The statement to run for one that came with settings of its own.
///
/// # Errors
/// Another language than SQL, a plan that is not to be run, or a key that a session must not have.
pub(crate) fn statement(text: &str, overlay: &[(String, String)]) -> Result<Asked, Failure> {
    if let Some(mode) = planned_by(text) {
        runs(mode)?;
    }
    let mut asked = Asked {
        text: text.to_owned(),
        ..Asked::default()
    };
    let statement = &mut asked.text;
    let mut others = Opening::default();
    for (key, value) in overlay {
        match key.as_str() {
            "kyuubi.operation.language" if !value.eq_ignore_ascii_case("SQL") => return Err(language(value)),
            PLAN_ONLY => runs(value)?,
            "kyuubi.operation.set.current.catalog" => *statement = set_catalog(value),
            "kyuubi.operation.get.current.catalog" => "SELECT current_catalog()".clone_into(statement),
            "kyuubi.operation.set.current.database" => *statement = format!("USE {}", quoted(value)),
            "kyuubi.operation.get.current.database" => "SELECT current_database()".clone_into(statement),
            "kyuubi.operation.language" | "kyuubi.operation.result.format" => {}
            _ if key.starts_with("spark.") => others.spark(key, value)?,
            _ if key.starts_with("kyuubi.") || key.starts_with("hive.server2.") => {
                others.note(key, "has no meaning for one statement and is ignored")
            }
            _ => drop(others.confs.insert(key.clone(), value.clone())),
        }
    }
    asked.confs = others.confs.into_iter().collect();
    asked.notes = others.notes;
    Ok(asked)
}

/// A language that is run elsewhere.
pub(super) fn language(value: &str) -> Failure {
    Failure::unsupported(format!(
        "statements in {value} are not run over this protocol; Livy's API takes Python and Scala"
    ))
}

/// The mode that a `SET` asks for, which Spark would take for a key of no meaning.
fn planned_by(text: &str) -> Option<&str> {
    let text = text.trim_start();
    let (word, rest) = text.split_at_checked(3)?;
    let (key, mode) = rest.split_once('=')?;
    let is_set = word.eq_ignore_ascii_case("set") && rest.starts_with(char::is_whitespace);
    let mode = mode.trim().trim_end_matches(';');
    (is_set && key.trim().eq_ignore_ascii_case(PLAN_ONLY)).then_some(mode)
}

/// Nothing, if statements are to be run in this mode.
///
/// # Errors
/// Only their plan is wanted: who asks for that must not have them run.
pub(super) fn runs(mode: &str) -> Result<(), Failure> {
    let mode = mode.trim();
    if mode.is_empty() || mode.eq_ignore_ascii_case("NONE") {
        return Ok(());
    }
    Err(Failure::unsupported(format!(
        "{PLAN_ONLY} '{mode:.100}' is not there: statements are run, not only planned; run EXPLAIN and the statement, \
         or set NONE"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_that_a_driver_makes_up_become_sql() {
        let overlay = |key: &str, value: &str| [(key.to_owned(), value.to_owned())];
        let cases = [
            ("kyuubi.operation.set.current.catalog", "c", "SET CATALOG 'c'"),
            (
                "kyuubi.operation.set.current.catalog",
                r"c' \",
                r"SET CATALOG 'c\' \\'",
            ),
            (
                "kyuubi.operation.get.current.catalog",
                "",
                "SELECT current_catalog()",
            ),
            ("kyuubi.operation.set.current.database", "d", "USE `d`"),
            ("kyuubi.operation.result.format", "arrow", "text"),
        ];
        for (key, value, expected) in cases {
            let asked = statement("text", &overlay(key, value)).unwrap();
            let plain = Asked {
                text: expected.to_owned(),
                ..Asked::default()
            };
            assert_eq!(asked, plain);
        }
        assert!(statement("x", &overlay("kyuubi.operation.language", "PYTHON")).is_err());
    }

    #[test]
    fn a_statement_whose_plan_alone_is_wanted_is_not_run() {
        let read = |mode: &str| {
            statement(
                "insert into t values (1)",
                &[(PLAN_ONLY.to_owned(), mode.to_owned())],
            )
        };
        for mode in ["NONE", "none", " None ", ""] {
            assert_eq!(read(mode).unwrap().notes, Vec::<String>::new(), "{mode}");
        }
        for mode in ["parse", "ANALYZE", "Optimize", "physical", "no such mode"] {
            let failure = read(mode).unwrap_err();
            assert_eq!(failure.sql_state, "0A000", "{mode}");
            assert!(
                failure.text.contains("EXPLAIN") && failure.text.contains(mode),
                "{failure}"
            );
            let set = format!(" Set  {PLAN_ONLY} = {mode};");
            assert_eq!(statement(&set, &[]).unwrap_err(), failure);
        }
        for text in [
            "set kyuubi.operation.plan.only.mode=none",
            "set a=b",
            "settle x=y",
            "é",
            "set",
        ] {
            assert!(statement(text, &[]).is_ok(), "{text}");
        }
    }

    #[test]
    fn settings_of_one_statement_are_those_that_a_session_may_have() {
        // kyuubi#25
        let read = |key: &str| statement("x", &[(key.to_owned(), "1".to_owned())]);
        for key in ["spark.sql.ansi.enabled", "x"] {
            assert_eq!(read(key).unwrap().confs, [(key.to_owned(), "1".to_owned())]);
        }
        for key in ["spark.executor.memory", "kyuubi.operation.x"] {
            let asked = read(key).unwrap();
            assert_eq!((asked.confs.len(), asked.notes.len()), (0, 1), "{key}");
        }
        assert_eq!(read("spark.sql.extensions").unwrap_err().sql_state, "42501");
    }
}
