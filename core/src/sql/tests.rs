use proptest::prelude::*;

use super::*;
use Class::{Read, State, Write};

fn check(text: &str, class: Class, key: &str) {
    let found = classify(text);
    assert_eq!((found.class, found.key.as_str()), (class, key), "{text}");
}

/// I3: text that Spark reads in another way than Berth could hide a write. As in Spark's `SqlBaseLexer.g4`.
#[test]
fn i3_comments_and_strings_end_where_spark_ends_them() {
    for hides_nothing in [
        r"with t as (select split(p, r'\') d from s) insert into x select d from t where d <> 'y'",
        r#"with t as (select R"\" d) insert into x select d from t"#,
        "-- load\rinsert into t select 1",
        "-- load \\\nselect 1\ninsert into t select 1",
        "/* /*+ */ insert into t select 1",
        "with t as (select /*+ x('*/') */ 1) insert into u select * from t where a = 'b'",
    ] {
        check(hides_nothing, Write, "");
    }
    for reads in [
        r"select r'\', 'insert'",
        r"select 'it\'s', 'insert' from bar",
        "with a as (select 1) -- insert \\\ninsert\nselect * from a",
        "with a as (select /*+ broadcast(b) */ 1) select * from a",
        "with a as (select '--') select /* /* insert */ insert */ * from a",
    ] {
        check(reads, Read, "");
    }
}

/// connect#41-#49, #67: what is replayed and what is never run twice hangs on these.
#[test]
fn every_statement_kind_has_its_class() {
    for text in [
        "select 1",
        "  -- c\nSELECT 1;",
        "/* a /* b */ c */ values (1)",
        "TABLE t",
        "(select 1) union (select 2)",
        "with a as (select 1) select * from a",
        "from t select x",
        "show tables",
        "describe t",
        "DESC t",
        "explain insert into t values (1)",
        "list jars",
        "set",
        "set spark.sql.x",
        "select ';' as x",
        "",
        "select 'insert' as `update`",
    ] {
        check(text, Read, "");
    }
    for text in [
        "use db",
        "set catalog c",
        "cache table t",
        "uncache table t",
        "clear cache",
        "refresh table t",
        "add jar 'x.jar'",
        "declare variable x int default 1",
        "set var x = 2",
        "set variable x = (select 1)",
        "drop temporary variable x",
        "drop temporary function f",
        "reset",
    ] {
        check(text, State, "");
    }
    for text in [
        "insert into t values (1)",
        "insert overwrite t select 1",
        "update t set a = 1",
        "delete from t",
        "merge into t using s on t.a = s.a when matched then delete",
        "create table t (a int)",
        "create or replace table t as select 1",
        "create view v as select 1",
        "create function f as 'x'",
        "create database d",
        "alter table t add columns (b int)",
        "drop table d.t",
        "drop view session.v",
        "drop database d",
        "truncate table t",
        "load data inpath 'x' into table t",
        "msck repair table t",
        "repair table t",
        "analyze table t compute statistics",
        "call p()",
        "optimize t",
        "begin select 1; end",
        "execute immediate 'drop table d.t'",
        "execute immediate 'select ?' using 5",
        "alter view d.v as select 1",
        "alter table t rename column a to b",
        "with a as (select 1) insert into t select * from a",
        "from s insert into t select *",
        "grant select on t to u",
        "comment on table t is 'x'",
        "frobnicate",
        "select 1; drop table t",
        "kill query 1",
        "set role admin",
    ] {
        check(text, Write, "");
    }
}

#[test]
fn session_objects_have_keys_by_which_they_replace_each_other() {
    check("create temp view V as select 1", State, "view:v");
    check(
        "create or replace temporary view `My V` as select 1",
        State,
        "view:my v",
    );
    check(
        "create temporary view if not exists v as select 1",
        State,
        "view:v",
    );
    check("create global temporary view g as select 1", State, "gview:g");
    check(
        "create or replace temporary function a.f as 'C'",
        State,
        "udf:a.f",
    );
    check(
        "set spark.sql.shuffle.partitions=3",
        State,
        "conf:spark.sql.shuffle.partitions",
    );
    check("SET `spark.sql.x` = 'a;b'", State, "conf:spark.sql.x");
    check("set time zone 'UTC'", State, "conf:spark.sql.session.timeZone");
    // connect#41: to Spark these are two.
    check("set berth.A = 1", State, "conf:berth.A");
    check("SET `berth.a` = 1", State, "conf:berth.a");
    check("reset spark.sql.x", State, "conf:spark.sql.x");
    check("drop view if exists V", Write, "view:v");
}

/// Spark looks for a temporary view first, and drops the table only where there is none.
#[test]
fn i2_what_drops_a_temporary_view_has_its_key() {
    for (text, key) in [
        ("drop table v", "view:v"),
        ("DROP TABLE IF EXISTS `V` PURGE", "view:v"),
        ("drop view v", "view:v"),
        ("drop view global_temp.g", "gview:g"),
        ("drop table if exists Global_Temp.`G`;", "gview:g"),
        ("drop view system.session.v", "view:v"),
        ("drop view `d.v`", "view:d.v"),
        ("drop view identifier('v')", "untold:DROP VIEW IDENTIFIER"),
        ("drop view `identifier`", "view:identifier"),
        ("execute immediate 'drop table t'", "view:t"),
    ] {
        check(text, Write, key);
    }
    check("create temporary table v (a int) using csv", State, "view:v");
    check("create temp view session.v as select 1", State, "view:v");
    // One key for whatever is named so would let them replace each other.
    check("create temp view identifier('v') as select 1", State, "");
}

#[test]
fn i2_what_alters_a_temporary_view_has_its_key() {
    for (text, key) in [
        ("alter view V as select 1", "altered:view:v"),
        (
            "alter view v with q as (select 1) select * from q",
            "altered:view:v",
        ),
        ("alter view global_temp.g select 1", "altered:gview:g"),
        ("alter view v rename to w", "renamed:view:v"),
        ("ALTER TABLE v RENAME TO w", "renamed:view:v"),
        (
            "alter view identifier('v') as select 1",
            "untold:ALTER VIEW IDENTIFIER",
        ),
    ] {
        check(text, Write, key);
    }
    assert_eq!(
        classify("alter view v rename to w").what,
        "ALTER VIEW V RENAME TO W"
    );
}

/// It says what the view is made of, and cannot reach one that is permanent.
#[test]
fn i3_an_altered_temporary_view_is_made_anew() {
    for (text, expected) in [
        ("alter view v as select 1", Some("TEMPORARY VIEW  v AS  select 1")),
        (
            "ALTER VIEW`as` as(select 1);",
            Some("TEMPORARY VIEW `as` AS (select 1);"),
        ),
        (
            "/* a */ alter --b\n view\tv values (1)",
            Some("TEMPORARY VIEW \tv AS  values (1)"),
        ),
        (
            "alter view global_temp.g as table t",
            Some("GLOBAL TEMPORARY VIEW g AS  table t"),
        ),
        (
            "alter view system . session . v select 1",
            Some("TEMPORARY VIEW  v AS  select 1"),
        ),
        ("alter view d.v as select 1", None),
        ("alter view identifier('v') as select 1", None),
        ("alter view v", None),
        ("drop view v", None),
        ("execute immediate 'alter view v as select 1'", None),
        ("", None),
    ] {
        let expected = expected.map(|text| format!("CREATE OR REPLACE {text}"));
        assert_eq!(recreate(text), expected, "{text}");
    }
}

/// What nobody can make again has a name by which it is told.
#[test]
fn i2_what_may_change_the_session_untold_says_so() {
    for (text, what) in [
        ("execute immediate 'set a.b = c'", "EXECUTE IMMEDIATE SET A"),
        (
            "execute immediate 'create temp view v as select 1'",
            "EXECUTE IMMEDIATE CREATE TEMP VIEW V",
        ),
        ("execute immediate 'select 1' into x", "EXECUTE IMMEDIATE"),
        ("execute immediate 'se' 't a=b'", "EXECUTE IMMEDIATE"),
        (r"execute immediate '\163et a=b'", "EXECUTE IMMEDIATE"),
        ("execute immediate 'set a=' || b", "EXECUTE IMMEDIATE"),
        ("execute immediate x using 1", "EXECUTE IMMEDIATE"),
        ("begin set x = 1; end", "SQL script"),
        (
            "begin select 1; create temp view v as select 1; end",
            "SQL script",
        ),
    ] {
        let found = classify(text);
        let expected = (Write, what, format!("untold:{what}"));
        assert_eq!((found.class, found.what.as_str(), found.key), expected, "{text}");
    }
}

/// I3: Spark looks at the upper case of each character.
#[test]
fn i3_keywords_are_those_of_spark() {
    check(
        "with t as (select 1) \u{131}nsert into x select * from t",
        Write,
        "",
    );
    check("\u{17f}elect 1", Read, "");
    check("select 1;; drop table t", Write, "");
}

/// I8: what is kept of a statement does not grow with it, and what matters is still seen at its end.
#[test]
fn i8_a_long_statement_is_read_to_its_end_and_not_kept() {
    let ten_mb = "(1,2),".repeat((10 << 20) / 6);
    let insert = format!("with t as (select 1) from (values {ten_mb}(1,2)) insert into t select *");
    let outline = Outline::of(&insert);
    // All that it has besides are flags, and parts of the text that are borrowed.
    assert_eq!(outline.kept(), outline::HEAD);
    assert!(size_of::<tokens::Token<'_>>() <= 24);
    assert_eq!(outline.classify().class, Write);
    let values = "(1,2),".repeat(outline::HEAD);
    check(&format!("insert into t values {values}(1,2)"), Write, "");
    check(&format!("select * from values {values}(1,2)"), Read, "");
    check(
        &format!("select * from values {values}(1,2); drop view v"),
        Write,
        "untold:SQL script",
    );
    check(&format!("set spark.x {values} = 1"), State, "conf:spark.x");
}

#[test]
fn i8_a_long_name_is_no_key() {
    let long = "n".repeat(outline::MAX_NAME + 1);
    let dotted = "n.".repeat(outline::HEAD);
    for name in [&long, &format!("`{long}`"), &dotted] {
        check(&format!("create temp view {name} as select 1"), State, "");
        check(&format!("set {name} = 1"), State, "");
    }
    let dropped = classify(&format!("drop view {long}"));
    assert_eq!(dropped.key, format!("untold:{}", dropped.what));
    assert!(dropped.what.len() < 200);
}

#[test]
fn literals_do_not_get_into_descriptions() {
    assert_eq!(
        classify("insert into t values ('secret')").what,
        "INSERT INTO T VALUES"
    );
    assert!(!classify("add jar 'secret'").what.contains("secret"));
    assert_eq!(classify("alter view v as select 4711").what, "ALTER VIEW V AS");
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,80}") {
        let _ = classify(&text);
    }

    #[test]
    fn comments_and_case_do_not_change_the_class(text in "(select|insert|set|use|create|drop)( [a-z`'=;.]{1,8}){0,4}") {
        let plain = classify(&text);
        let dressed = classify(&format!("-- note\n/* x */ {}", text.replacen(' ', " /* ; */ ", 1)));
        prop_assert_eq!(plain.class, dressed.class);
    }
}
