use super::*;
use crate::control::frames::Ending;
use uuid::Uuid;

fn driver(n: u128) -> DriverId {
    DriverId::new(Uuid::from_u128(n))
}

fn key(id: &str) -> Key {
    Key {
        session: SessionId::new(Uuid::from_u128(7)),
        epoch: Epoch::INITIAL,
        id: id.parse().unwrap(),
    }
}

fn result(id: &str) -> Finished {
    Finished {
        id: id.to_owned(),
        state: Ending::Ok,
        output: Some(serde_json::json!({ "text/plain": "2" })),
        error_name: String::new(),
        error_value: String::new(),
        traceback: Vec::new(),
        effects: Vec::new(),
        snapshot: None,
        started_at: 5,
        finished_at: 6,
    }
}

/// The ids and kinds of frames.
fn names(frames: &[ToHost]) -> Vec<String> {
    let name = |frame: &ToHost| match frame {
        ToHost::Run { id, .. } => format!("run {id}"),
        ToHost::Cancel { id } => format!("cancel {id}"),
        other => format!("{other:?}"),
    };
    frames.iter().map(name).collect()
}

#[tokio::test]
async fn i2_i3_statements_survive_the_agent_and_are_told_again_until_they_have_ended() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("sessions");
    let first = Statements::open(root.clone(), false).unwrap();
    for id in ["10", "9", "8"] {
        let run = first.start(&key(id), driver(1), "pyspark", "1+1").await.unwrap();
        assert!(run.is_some());
    }
    assert!(
        first
            .start(&key("9"), driver(1), "pyspark", "other")
            .await
            .unwrap()
            .is_none()
    );
    first.finish(driver(1), result("9")).await.unwrap();
    let codes = ["8", "9"].map(|id| first.entry(&key(id)).unwrap().code().clone());
    assert_eq!(codes, ["1+1", ""], "what has ended takes no memory");
    first.cancel(&key("8")).unwrap();
    assert!(first.begin(driver(1), "10") && !first.begin(driver(1), "9") && !first.begin(driver(2), "10"));
    assert_eq!(
        names(&first.unfinished(driver(1))),
        ["run 10", "run 8", "cancel 8"]
    );
    assert!(first.unfinished(driver(2)).is_empty());

    let second = Statements::open(root.clone(), true).unwrap();
    assert_eq!(names(&second.unfinished(driver(1))), ["run 10", "run 8"]);
    let told: berth_proto::agent::Statement = second.get(&key("9"), Duration::ZERO).await.unwrap().into();
    assert_eq!(
        (told.output_json.as_str(), told.finished_at_unix_ms),
        (r#"{"text/plain":"2"}"#, 6)
    );
    second.driver_ended(driver(1));
    let lost = second.get(&key("10"), Duration::from_secs(60)).await;
    assert!(matches!(lost, Err(StatementError::DriverLost)));
    assert!(second.get(&key("9"), Duration::ZERO).await.is_ok());
    second.forget(key("9").session).await.unwrap();
    assert!(matches!(
        second.get(&key("9"), Duration::ZERO).await,
        Err(StatementError::Unknown)
    ));
    assert_eq!(std::fs::read_dir(&root).unwrap().count(), 0);
}

#[tokio::test]
async fn i3_what_was_not_allowed_to_begin_surely_never_ran() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("s");
    let statements = Statements::open(root.clone(), false).unwrap();
    for id in ["0", "1"] {
        statements
            .start(&key(id), driver(1), "pyspark", "1")
            .await
            .unwrap();
    }
    assert!(statements.begin(driver(1), "0") && statements.begin(driver(1), "0"));
    // Another run of the agent cannot know what the one before has allowed.
    let adopted = Statements::open(root, true).unwrap();
    for (of, id, surely) in [
        (&statements, "0", false),
        (&statements, "1", true),
        (&adopted, "1", false),
    ] {
        of.driver_ended(driver(1));
        let lost = of.get(&key(id), Duration::ZERO).await;
        assert_eq!(
            matches!(lost, Err(StatementError::NeverBegan)),
            surely,
            "{id}: {lost:?}"
        );
        assert!(!of.begin(driver(1), id));
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_with_the_statement_or_with_what_there_is() {
    let directory = tempfile::tempdir().unwrap();
    let statements = Statements::open(directory.path().join("s"), false).unwrap();
    statements
        .start(&key("0"), driver(1), "pyspark", "1")
        .await
        .unwrap();
    statements.progressed(
        driver(1),
        &Progress {
            id: "0".to_owned(),
            progress: 0.5,
            started_at: Some(4),
        },
    );
    let running = statements.get(&key("0"), Duration::from_secs(60)).await.unwrap();
    assert_eq!((running.head.state, running.head.started_at), (State::Running, 4));
    let zero = key("0");
    let (ended, finished) = tokio::join!(
        statements.get(&zero, Duration::from_secs(60)),
        statements.finish(driver(1), result("0"))
    );
    finished.unwrap();
    assert_eq!(ended.unwrap().head.state, State::Ok);
}

#[tokio::test]
async fn i8_a_session_has_so_many_unfinished_statements() {
    let directory = tempfile::tempdir().unwrap();
    let statements = Statements::open(directory.path().join("s"), false).unwrap();
    for n in 0..MAX_UNFINISHED {
        statements
            .start(&key(&n.to_string()), driver(1), "sql", "select 1")
            .await
            .unwrap();
    }
    let refused = statements.start(&key("more"), driver(1), "sql", "select 1").await;
    assert!(matches!(refused, Err(StatementError::TooManyUnfinished)));
    statements.finish(driver(1), result("0")).await.unwrap();
    statements
        .start(&key("more"), driver(1), "sql", "select 1")
        .await
        .unwrap();
    let long = "x".repeat(MAX_CODE_BYTES + 1);
    let refused = statements.start(&key("long"), driver(1), "sql", &long).await;
    assert!(matches!(refused, Err(StatementError::Invalid)));
}
