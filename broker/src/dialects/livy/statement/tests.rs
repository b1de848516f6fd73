use super::*;

fn statement(end: Option<End>) -> Statement {
    let intent = Intent {
        kind: Kind::Pyspark,
        code: "1+1".to_owned(),
        task: Task::Statement,
        rows: None,
    };
    Statement {
        id: 5,
        number: 3,
        epoch: Epoch::INITIAL,
        intent,
        waits: false,
        end,
    }
}

fn reported(state: Reporting) -> Reported {
    Reported {
        state: state.into(),
        ..Reported::default()
    }
}

#[test]
fn a_result_is_shown_as_livy_shows_it() {
    let ok = Reported {
        output_json: r#"{"text/plain":"2"}"#.to_owned(),
        ..reported(Reporting::Ok)
    };
    let shown = statement(End::of(&ok)).show(None);
    assert_eq!(shown["state"], "available");
    let expected = json!({ "status": "ok", "execution_count": 3, "data": { "text/plain": "2" } });
    assert_eq!(shown["output"], expected);
    assert_eq!(shown["progress"], 1.0);
    assert_eq!(shown.as_object().unwrap().len(), 7);
}

#[test]
fn sql_says_how_many_rows_it_has_at_most_if_its_session_does() {
    // livy#60
    let mut intent = statement(None).intent;
    intent.rows = Some(5);
    assert_eq!((intent.agent_kind(), &*intent.agent_code()), ("pyspark", "1+1"));
    intent.kind = Kind::Sql;
    let query = r#"{"rows":5,"sql":"1+1"}"#;
    assert_eq!((intent.agent_kind(), &*intent.agent_code()), ("query", query));
    intent.rows = None;
    assert_eq!((intent.agent_kind(), &*intent.agent_code()), ("sql", "1+1"));
}

#[test]
fn failed_code_is_available_with_an_error_output() {
    let failed = Reported {
        error_name: "NameError".to_owned(),
        ..reported(Reporting::Error)
    };
    let shown = statement(End::of(&failed)).show(None);
    assert_eq!(
        (shown["state"].as_str(), shown["output"]["ename"].as_str()),
        (Some("available"), Some("NameError"))
    );
    assert!(shown["output"]["traceback"].is_array());
}

#[test]
fn what_runs_has_no_output_yet() {
    let running = Reported {
        progress: 0.5,
        ..reported(Reporting::Running)
    };
    assert!(End::of(&running).is_none());
    let shown = statement(None).show(Some(&running));
    assert_eq!(
        (shown["state"].as_str(), shown["progress"].as_f64()),
        (Some("running"), Some(0.5))
    );
    assert!(shown["output"].is_null());
    let cancelling = Reported {
        cancelling: true,
        ..running
    };
    // livy#69
    assert_eq!(statement(None).show(Some(&cancelling))["state"], "cancelling");
    assert_eq!(statement(None).show(None)["state"], "waiting");
}

/// livy#67: a state never goes back.
#[test]
fn what_has_ended_at_its_driver_is_no_more_waiting() {
    let table = [
        (Reporting::Waiting, "waiting"),
        (Reporting::Running, "running"),
        (Reporting::Ok, "running"),
        (Reporting::Error, "running"),
        (Reporting::Cancelled, "cancelling"),
    ];
    for (live, shown) in table {
        assert_eq!(
            statement(None).show(Some(&reported(live)))["state"],
            shown,
            "{live:?}"
        );
    }
}

#[test]
fn i3_only_what_no_driver_was_given_is_told_as_not_run() {
    assert!(End::refused("no room", 1).is_not_run());
    for end in [End::unread("no room"), End::unknown(1), End::cancelled(1)] {
        assert!(!end.is_not_run(), "{end:?}");
    }
    // Code of a client may raise what it likes.
    let raised = Reported {
        error_name: NOT_RUN.to_owned(),
        started_at_unix_ms: 5,
        ..reported(Reporting::Error)
    };
    assert!(!End::of(&raised).unwrap().is_not_run());
}
