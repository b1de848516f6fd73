use std::collections::BTreeMap;

use berth_core::ids::SessionId;
use berth_core::record::{Dialect, Lifetime, SessionState, Work};
use bytes::Bytes;
use uuid::Uuid;

use super::*;

fn record() -> SessionRecord {
    let client = Uuid::from_u128(1);
    SessionRecord {
        format: 1,
        id: SessionId::for_connect("u", client),
        dialect: Dialect::Connect,
        work: Work::Session,
        owner: "u".to_owned(),
        tenant: "t".parse().unwrap(),
        profile: "p".parse().unwrap(),
        client_id: client.to_string(),
        name: None,
        server_session_id: Uuid::from_u128(2),
        memory_bytes: 0,
        confs: BTreeMap::new(),
        lifetime: Lifetime::default(),
        share: None,
        bound_to: None,
        created_at: 0,
        epoch: Epoch::INITIAL,
        state: SessionState::Placing {
            broker: "b".parse().unwrap(),
            from: None,
            cause: None,
            since: 0,
        },
        early_losses: Vec::new(),
        left_out: 0,
        history: Vec::new(),
    }
}

fn answer(number: u32, payload: &str) -> Answer {
    let mut body = Vec::new();
    wire::append_string(&mut body, number, payload);
    wire::append_string(&mut body, answer::RESPONSE_ID, "upstream-1");
    Answer::read(Bytes::from(body)).unwrap()
}

fn batch(rows: &str) -> Answer {
    answer(answer::ARROW_BATCH, rows)
}

fn admit(delivery: &mut Delivery, answer: &Answer) -> Verdict {
    delivery.admit(Epoch::INITIAL, &record(), answer)
}

fn response_id(verdict: &Verdict) -> String {
    let Verdict::Pass(message) = verdict else {
        panic!("{verdict:?}")
    };
    wire::last_text(&message.to_bytes(), answer::RESPONSE_ID)
        .unwrap()
        .unwrap()
}

fn delivered(schema: &str, batches: &[&str]) -> Delivery {
    let mut delivery = Delivery::new();
    admit(&mut delivery, &answer(answer::SCHEMA, schema));
    for rows in batches {
        assert!(matches!(admit(&mut delivery, &batch(rows)), Verdict::Pass(_)));
    }
    delivery
}

#[test]
fn a_second_run_with_the_same_beginning_is_skipped_and_continued() {
    let mut delivery = delivered("s", &["a", "b"]);
    let before = delivery.position();
    delivery.restart("op");
    assert_eq!(admit(&mut delivery, &answer(answer::SCHEMA, "s")), Verdict::Skip);
    assert_eq!(admit(&mut delivery, &batch("a")), Verdict::Skip);
    assert_eq!(admit(&mut delivery, &batch("b")), Verdict::Skip);
    assert!(matches!(admit(&mut delivery, &batch("c")), Verdict::Pass(_)));
    assert_eq!(delivery.position(), before + 1);
    assert!(matches!(
        admit(&mut delivery, &answer(answer::RESULT_COMPLETE, "")),
        Verdict::Pass(_)
    ));
}

#[test]
fn other_rows_another_schema_or_fewer_rows_are_divergence() {
    let mut other_rows = delivered("s", &["a", "b"]);
    other_rows.restart("op");
    admit(&mut other_rows, &batch("b"));
    assert_eq!(admit(&mut other_rows, &batch("a")), Verdict::Diverged);

    let mut other_schema = delivered("s", &[]);
    other_schema.restart("op");
    assert_eq!(
        admit(&mut other_schema, &answer(answer::SCHEMA, "t")),
        Verdict::Diverged
    );

    let mut fewer = delivered("s", &["a", "b"]);
    fewer.restart("op");
    admit(&mut fewer, &batch("a"));
    assert_eq!(
        admit(&mut fewer, &answer(answer::RESULT_COMPLETE, "")),
        Verdict::Diverged
    );
}

#[test]
fn a_third_run_is_checked_against_all_that_was_delivered() {
    let mut delivery = delivered("s", &["a"]);
    delivery.restart("op");
    admit(&mut delivery, &batch("a"));
    assert!(matches!(admit(&mut delivery, &batch("b")), Verdict::Pass(_)));
    delivery.restart("op");
    assert_eq!(admit(&mut delivery, &batch("a")), Verdict::Skip);
    assert_eq!(admit(&mut delivery, &batch("x")), Verdict::Diverged);
}

#[test]
fn metrics_are_not_repeated_and_progress_always_passes() {
    let mut delivery = Delivery::new();
    admit(&mut delivery, &answer(4, "metrics of the first run"));
    delivery.restart("op");
    assert_eq!(admit(&mut delivery, &answer(4, "other figures")), Verdict::Skip);
    let position = delivery.position();
    assert!(matches!(
        admit(&mut delivery, &answer(answer::PROGRESS, "")),
        Verdict::Pass(_)
    ));
    assert_eq!(
        delivery.position(),
        position,
        "progress has no position of its own"
    );
}

#[test]
fn response_ids_come_back_and_differ() {
    let mut delivery = Delivery::new();
    let first = response_id(&admit(&mut delivery, &answer(answer::PROGRESS, "")));
    let second = response_id(&admit(&mut delivery, &answer(answer::PROGRESS, "")));
    assert_ne!(first, second);
    let place = Position::parse(&second).unwrap();
    assert_eq!((place.epoch, place.position), (Epoch::INITIAL, 0));
    assert_eq!(place.upstream.as_deref(), Some("upstream-1"));
    assert_eq!(place.to_string(), second);
}

#[test]
fn ids_that_berth_never_made_are_not_positions() {
    for text in [
        "",
        "b1-",
        "b1-1-2~x",
        "b1-0-1-1~",
        "7c1b4d4e-0000-0000-0000-000000000000",
        "b1-a-1-1~",
    ] {
        assert_eq!(Position::parse(text), None, "{text}");
    }
}
