use super::*;

fn read(pairs: &[(&str, &str)]) -> Result<Opening, Failure> {
    let pairs: Vec<_> = pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    Opening::read(&pairs)
}

#[test]
fn confs_come_with_and_without_their_prefixes() {
    // hs2#17
    let opening = read(&[
        ("set:hiveconf:spark.sql.shuffle.partitions", "7"),
        ("set:hivevar:x", "1"),
        ("y", "2"),
        ("set:hivevar:spark.sql.ansi.enabled", "true"),
        ("spark.executor.memory", "2g"),
        ("kyuubi.x", "y"),
        ("hive.server2.thrift.resultset.default.fetch.size", "500"),
        (
            "set:hiveconf:hive.server2.thrift.resultset.default.fetch.size",
            "100",
        ),
    ])
    .unwrap();
    let confs: Vec<_> = opening
        .confs
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    assert_eq!(
        confs,
        [
            "spark.sql.ansi.enabled=true",
            "spark.sql.shuffle.partitions=7",
            "x=1",
            "y=2"
        ]
    );
    assert_eq!(opening.fetch_size, Some(100));
    assert_eq!(opening.notes.len(), 2, "{:?}", opening.notes);
}

#[test]
fn kyuubis_word_for_the_user_to_act_for_goes_before_hives() {
    // hs2#19, kyuubi#45
    let (kyuubis, hives) = (
        ("kyuubi.session.proxy.user", "ann"),
        ("set:hiveconf:hive.server2.proxy.user", "bob"),
    );
    for pairs in [[kyuubis, hives], [hives, kyuubis]] {
        assert_eq!(read(&pairs).unwrap().proxy_user.as_deref(), Some("ann"));
    }
    assert_eq!(read(&[hives]).unwrap().proxy_user.as_deref(), Some("bob"));
}

#[test]
fn keys_that_a_session_must_not_have_are_refused_by_name() {
    // hs2#18
    let cases = [
        ("set:env:X", "variable X"),
        ("set:hiveconf:spark.plugins", "spark.plugins may not"),
        ("spark.driver.extraJavaOptions", "may not"),
        ("kyuubi.engine.type", "SPARK_SQL"),
        ("kyuubi.operation.plan.only.mode", "EXPLAIN"),
        ("set:hiveconf:kyuubi.operation.plan.only.mode", "EXPLAIN"),
        ("kyuubi.engine.share.level", "CONNECTION, USER, GROUP or SERVER"),
        ("kyuubi.session.idle.timeout", "PT30M"),
    ];
    for (key, text) in cases {
        let failure = read(&[(key, "odd")]).unwrap_err();
        assert!(failure.text.contains(text), "{key}: {failure}");
    }
    let unplanned = read(&[("kyuubi.operation.plan.only.mode", "none")]).unwrap();
    assert!(unplanned.notes.is_empty());
    let long = "x".repeat(MAX_BYTES);
    assert!(read(&[("k", &long)]).is_err());
}

#[test]
fn a_session_begins_where_its_client_says() {
    // hs2#16
    type Case<'a> = (&'a [(&'a str, &'a str)], &'a [(&'a str, bool)]);
    let cases: [Case<'_>; 6] = [
        (&[], &[]),
        (&[("use:database", "default")], &[]),
        (&[("use:database", "a`b")], &[("USE `a``b`", false)]),
        (
            &[("use:database", "d"), ("use:catalog", "c")],
            &[("SET CATALOG 'c'", false), ("USE `d`", false)],
        ),
        (
            &[("use:database", "default"), ("use:catalog", "c")],
            &[("SET CATALOG 'c'", false), ("USE `default`", true)],
        ),
        (
            &[("use:database", "default"), (DEFAULT_CATALOG, "c")],
            &[("USE `default`", true)],
        ),
    ];
    for (pairs, expected) in cases {
        let steps = read(pairs).unwrap().statements();
        let steps: Vec<_> = steps
            .iter()
            .map(|step| (step.text.as_str(), step.may_miss))
            .collect();
        assert_eq!(steps, expected);
    }
}

#[test]
fn a_session_says_with_whom_it_wants_to_be_on_a_driver() {
    let share = |level: &str, subdomain: &str| {
        let pairs = [
            ("kyuubi.engine.share.level", level),
            ("kyuubi.engine.share.level.subdomain", subdomain),
        ];
        read(&pairs).map(|opening| opening.share.map(|asked| (asked.level, asked.subdomain)))
    };
    let named = Some("etl".to_owned());
    let table = [
        ("connection", "", Level::Session, None),
        ("USER", "etl", Level::User, named),
        ("GROUP", "default", Level::Tenant, None),
        ("SERVER", "", Level::Tenant, None),
    ];
    for (level, subdomain, wanted, name) in table {
        assert_eq!(
            share(level, subdomain).unwrap(),
            Some((Some(wanted), name)),
            "{level}"
        );
    }
    assert!(share("USER", "a/b").is_err());
    assert_eq!(read(&[]).unwrap().share, None);
}

#[test]
fn durations_are_milliseconds_or_iso() {
    let cases = [
        ("1500", Some(1500)),
        ("PT30M", Some(1_800_000)),
        ("pt1h1.5s", Some(3_601_500)),
        ("P1DT1H", Some(90_000_000)),
        ("PT", Some(0)),
        ("30m", None),
        ("PTxS", None),
        ("PT-1S", None),
    ];
    for (text, millis) in cases {
        let read = duration("k", text).ok();
        assert_eq!(read, millis.map(Duration::from_millis), "{text}");
    }
}
