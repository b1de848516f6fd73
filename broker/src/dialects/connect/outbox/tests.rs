use super::super::errors::error_class;
use super::*;
use bytes::Bytes;

const LIMITS: Limits = Limits {
    unsent_bytes: 10,
    sent_bytes: 10,
};

fn message(text: &'static str) -> Message {
    Bytes::from_static(text.as_bytes()).into()
}

async fn text(reader: &mut Reader) -> String {
    let bytes = reader.next().await.unwrap().unwrap();
    String::from_utf8(bytes.to_bytes().to_vec()).unwrap()
}

fn class(result: Result<Reader, Status>) -> String {
    error_class(&result.unwrap_err()).unwrap()
}

#[tokio::test]
async fn a_reader_gets_messages_in_order_and_then_the_end() {
    let outbox = Outbox::new(LIMITS);
    outbox.push(1, message("a")).await.unwrap();
    outbox.push(2, message("b")).await.unwrap();
    outbox.finish(Ok(()));
    let mut reader = outbox.attach(0, "").unwrap();
    assert_eq!(text(&mut reader).await, "a");
    assert_eq!(text(&mut reader).await, "b");
    assert!(reader.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_holds_the_writer_back() {
    let outbox = Outbox::new(LIMITS);
    let mut reader = outbox.attach(0, "").unwrap();
    outbox.push(1, message("12345678")).await.unwrap();
    let waits = tokio::time::timeout(Duration::from_secs(1), outbox.push(2, message("abcdef")));
    assert!(waits.await.is_err());
    assert_eq!(text(&mut reader).await, "12345678");
    outbox.push(2, message("abcdef")).await.unwrap();
}

#[tokio::test]
async fn a_second_attach_disconnects_the_first_and_continues() {
    let outbox = Outbox::new(LIMITS);
    outbox.push(1, message("a")).await.unwrap();
    outbox.push(2, message("b")).await.unwrap();
    let mut first = outbox.attach(0, "").unwrap();
    assert_eq!(text(&mut first).await, "a");
    let mut second = outbox.attach(1, "").unwrap();
    let ended = first.next().await.unwrap().unwrap_err();
    assert_eq!(
        error_class(&ended).as_deref(),
        Some("INVALID_CURSOR.DISCONNECTED")
    );
    drop(first);
    assert_eq!(text(&mut second).await, "b");
    assert_eq!(outbox.detached_for(), None, "the second still reads");
}

#[tokio::test]
async fn positions_that_were_released_or_never_reached_are_told_apart() {
    let outbox = Outbox::new(LIMITS);
    for position in 1..=3 {
        outbox.push(position, message("x")).await.unwrap();
    }
    let mut reader = outbox.attach(0, "").unwrap();
    text(&mut reader).await;
    text(&mut reader).await;
    outbox.release_until(2);
    assert_eq!(
        class(outbox.attach(1, "r1")),
        "INVALID_CURSOR.POSITION_NOT_AVAILABLE"
    );
    assert_eq!(class(outbox.attach(9, "r9")), "INVALID_CURSOR.POSITION_NOT_FOUND");
    assert!(outbox.attach(2, "r2").is_ok());
}

#[tokio::test]
async fn what_was_sent_is_kept_up_to_the_limit() {
    let outbox = Outbox::new(LIMITS);
    let mut reader = outbox.attach(0, "").unwrap();
    for position in 1..=4 {
        outbox.push(position, message("12345")).await.unwrap();
        text(&mut reader).await;
    }
    assert!(outbox.attach(1, "").is_err());
    let mut again = outbox.attach(2, "").unwrap();
    assert_eq!(text(&mut again).await, "12345");
}

#[tokio::test]
async fn release_stops_the_writer_and_the_reader() {
    let outbox = Outbox::new(LIMITS);
    let mut reader = outbox.attach(0, "").unwrap();
    outbox.push(1, message("a")).await.unwrap();
    outbox.release_all();
    assert_eq!(outbox.push(2, message("b")).await, Err(Released));
    assert!(reader.next().await.is_none());
    outbox.released().await;
}

#[tokio::test]
async fn progress_shares_the_position_before_it() {
    let outbox = Outbox::new(LIMITS);
    outbox.push(0, message("p0")).await.unwrap();
    outbox.push(1, message("a")).await.unwrap();
    outbox.push(1, message("p1")).await.unwrap();
    outbox.push(2, message("b")).await.unwrap();
    let mut reader = outbox.attach(1, "").unwrap();
    assert_eq!(text(&mut reader).await, "b");
    let mut reader = outbox.attach(0, "").unwrap();
    assert_eq!(text(&mut reader).await, "p0");
}

#[tokio::test(start_paused = true)]
async fn what_nobody_takes_stands() {
    let (outbox, minute) = (Outbox::new(LIMITS), Duration::from_secs(60));
    tokio::time::sleep(minute).await;
    assert!(!outbox.stands_for(minute), "there is nothing to take");
    outbox.push(1, message("a")).await.unwrap();
    outbox.push(2, message("b")).await.unwrap();
    assert!(!outbox.stands_for(minute));
    tokio::time::sleep(minute).await;
    outbox.push(3, message("c")).await.unwrap();
    assert!(outbox.stands_for(minute));
    let mut reader = outbox.attach(0, "").unwrap();
    text(&mut reader).await;
    assert!(!outbox.stands_for(minute));
}
