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
        "drop table t",
        "drop database d",
        "truncate table t",
        "load data inpath 'x' into table t",
        "msck repair table t",
        "repair table t",
        "analyze table t compute statistics",
        "call p()",
        "optimize t",
        "begin select 1; end",
        "execute immediate 'drop table t'",
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

#[test]
fn literals_do_not_get_into_descriptions() {
    assert_eq!(
        classify("insert into t values ('secret')").what,
        "INSERT INTO T VALUES"
    );
    assert!(!classify("add jar 'secret'").what.contains("secret"));
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
