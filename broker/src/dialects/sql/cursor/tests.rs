use arrow_array::{ArrayRef, Int64Array};
use arrow_ipc::writer::StreamWriter;
use bytes::Bytes as Data;
use std::sync::Arc;

use super::*;
use crate::dialects::sql::spool::Spool;

fn numbers(from: i64, to: i64) -> RecordBatch {
    let column: ArrayRef = Arc::new(Int64Array::from_iter_values(from..to));
    RecordBatch::try_from_iter([("n", column)]).unwrap()
}

fn stream(batches: &[RecordBatch]) -> Data {
    let mut writer = StreamWriter::try_new(Vec::new(), &batches[0].schema()).unwrap();
    for batch in batches {
        writer.write(batch).unwrap();
    }
    writer.finish().unwrap();
    Data::from(writer.into_inner().unwrap())
}

fn buffer(memory: u64, disk: u64) -> (tempfile::TempDir, Buffer) {
    let directory = tempfile::tempdir().unwrap();
    let spool = Spool::new(directory.path().to_owned(), memory, disk, disk);
    (directory, Buffer::new(spool, usize::try_from(memory).unwrap(), 0))
}

/// A result of 2500 rows in messages of 500, the third of them in two batches.
async fn result(memory: u64, disk: u64) -> (tempfile::TempDir, Buffer) {
    let (directory, buffer) = buffer(memory, disk);
    let mut writer = buffer.spool().writer();
    for number in 0..5 {
        let from = number * 500;
        let batches = if number == 2 {
            vec![numbers(from, from + 100), numbers(from + 100, from + 500)]
        } else {
            vec![numbers(from, from + 500)]
        };
        buffer.add(&mut writer, 500, stream(&batches)).await;
    }
    buffer.finish(Ok(()));
    (directory, buffer)
}

struct Client<'a> {
    buffer: &'a Buffer,
    cursor: Cursor,
}

impl Client<'_> {
    /// The first row of a page, how many there are, and if one follows. Each has its number.
    async fn page(&mut self, orientation: Orientation) -> (u64, usize, bool) {
        let page = self
            .cursor
            .page(self.buffer, orientation, 1000, 1 << 20)
            .await
            .unwrap();
        let mut expected = i64::try_from(page.start).unwrap();
        for batch in &page.batches {
            let column = batch.column(0).as_any().downcast_ref::<Int64Array>().unwrap();
            for value in column.values() {
                assert_eq!(*value, expected);
                expected += 1;
            }
        }
        (page.start, page.rows(), page.more)
    }
}

fn client(buffer: &Buffer) -> Client<'_> {
    Client {
        buffer,
        cursor: Cursor::default(),
    }
}

#[tokio::test]
async fn pages_follow_each_other_and_can_be_turned_back() {
    // hs2#26, hs2#27, hs2#28: in memory, and on disk.
    for (memory, disk) in [(1 << 20, 0), (6000, 1 << 20)] {
        let (_directory, buffer) = result(memory, disk).await;
        let mut client = client(&buffer);
        assert_eq!(client.page(Orientation::Next).await, (0, 1000, true));
        assert_eq!(client.page(Orientation::Next).await, (1000, 1000, true));
        assert_eq!(client.page(Orientation::Prior).await, (0, 1000, true));
        assert_eq!(client.page(Orientation::Next).await, (1000, 1000, true));
        assert_eq!(client.page(Orientation::Next).await, (2000, 500, false));
        assert_eq!(client.page(Orientation::Next).await, (2500, 0, false));
        assert_eq!(client.page(Orientation::First).await, (0, 1000, true));
    }
}

#[tokio::test]
async fn a_page_is_turned_back_to_whatever_its_size_was() {
    // hs2#27
    let (_directory, buffer) = result(1 << 20, 0).await;
    let mut cursor = Cursor::default();
    let mut pages = Vec::new();
    for bytes in [900, 1500, 1100] {
        let page = cursor
            .page(&buffer, Orientation::Next, 1000, bytes)
            .await
            .unwrap();
        pages.push((page.start, page.rows()));
    }
    assert!(
        pages[0].1 < pages[1].1 && pages[1].0 + 1 < pages[2].0,
        "{pages:?}"
    );
    for expected in [pages[1], pages[0]] {
        let page = cursor
            .page(&buffer, Orientation::Prior, 1000, 1 << 20)
            .await
            .unwrap();
        assert_eq!((page.start, page.rows()), expected);
    }
    let next = cursor
        .page(&buffer, Orientation::Next, 1000, 1 << 20)
        .await
        .unwrap();
    assert_eq!(next.start, pages[1].0);
    let back = cursor
        .page(&buffer, Orientation::Prior, 10, 1 << 20)
        .await
        .unwrap();
    assert_eq!(
        (back.start, back.rows()),
        (pages[1].0 - 10, 10),
        "fewer rows than that page had"
    );
    let last = cursor
        .page(&buffer, Orientation::Next, 10_000, 1 << 20)
        .await
        .unwrap();
    for _ in 0..3 {
        let end = cursor
            .page(&buffer, Orientation::Next, 10, 1 << 20)
            .await
            .unwrap();
        assert_eq!((end.start, end.rows(), end.more), (2500, 0, false));
    }
    let again = cursor
        .page(&buffer, Orientation::Prior, 10_000, 1 << 20)
        .await
        .unwrap();
    assert_eq!(
        (again.start, again.rows()),
        (last.start, last.rows()),
        "the end is one page"
    );
}

#[tokio::test]
async fn i8_a_page_is_bounded_by_its_bytes_and_has_a_row_at_least() {
    let (_directory, buffer) = buffer(1 << 20, 0);
    buffer.add_table(numbers(0, 100));
    buffer.finish(Ok(()));
    let mut cursor = Cursor::default();
    let one = cursor.page(&buffer, Orientation::Next, 50, 1).await.unwrap();
    assert_eq!((one.rows(), one.more), (1, true));
    let some = cursor.page(&buffer, Orientation::Next, 50, 300).await.unwrap();
    assert!(some.rows() > 1 && some.rows() < 50);
}

#[tokio::test]
async fn an_error_in_a_result_comes_behind_the_rows_before_it() {
    let (_directory, buffer) = buffer(1 << 20, 0);
    let mut writer = buffer.spool().writer();
    buffer.add(&mut writer, 700, stream(&[numbers(0, 700)])).await;
    buffer.finish(Err(Failure::canceled()));
    let mut client = client(&buffer);
    assert_eq!(client.page(Orientation::Next).await, (0, 700, true));
    let failed = client
        .cursor
        .page(&buffer, Orientation::Next, 1000, 1 << 20)
        .await;
    assert_eq!(failed.unwrap_err(), Failure::canceled());
}

#[tokio::test]
async fn rows_that_are_not_kept_are_refused_and_reading_goes_on() {
    let (_directory, buffer) = buffer(9000, 0);
    let mut writer = buffer.spool().writer();
    let mut client = client(&buffer);
    let written = async {
        for from in [0, 1000, 2000] {
            let message = stream(&[numbers(from, from + 1000)]);
            assert!(message.len() > 4500, "two of them would fit");
            buffer.add(&mut writer, 1000, message).await;
        }
        buffer.finish(Ok(()));
    };
    let read = async {
        assert_eq!(client.page(Orientation::Next).await, (0, 1000, true));
        assert_eq!(client.page(Orientation::Next).await, (1000, 1000, true));
        assert_eq!(client.page(Orientation::Next).await, (2000, 1000, false));
        let gone = client
            .cursor
            .page(&buffer, Orientation::First, 1000, 1 << 20)
            .await;
        assert!(gone.unwrap_err().is_of_place());
        assert_eq!(client.page(Orientation::Next).await, (3000, 0, false));
    };
    tokio::join!(written, read);
}

#[tokio::test]
async fn a_message_with_another_number_of_rows_than_it_says_is_refused() {
    let (_directory, buffer) = buffer(1 << 20, 0);
    let mut writer = buffer.spool().writer();
    buffer.add(&mut writer, 70, stream(&[numbers(0, 50)])).await;
    let failed = Cursor::default()
        .page(&buffer, Orientation::Next, 10, 1 << 20)
        .await;
    assert!(failed.unwrap_err().text.contains("run the statement again"));
}

#[tokio::test]
async fn a_call_that_is_given_up_leaves_the_place_where_it_was() {
    let (_directory, buffer) = buffer(1 << 20, 0);
    let mut writer = buffer.spool().writer();
    let mut client = client(&buffer);
    for (from, to) in [(0, 700), (700, 1500)] {
        tokio::select! {
            biased;
            _ = client.page(Orientation::Next) => panic!("a page has a row, or the result is at its end"),
            () = tokio::task::yield_now() => {}
        }
        let rows = usize::try_from(to - from).unwrap();
        buffer
            .add(&mut writer, rows as u64, stream(&[numbers(from, to)]))
            .await;
        let page = client.page(Orientation::Next).await;
        assert_eq!(
            page,
            (u64::try_from(from).unwrap(), rows, true),
            "what is there is not held back"
        );
    }
    buffer.finish(Ok(()));
    assert_eq!(client.page(Orientation::Next).await, (1500, 0, false));
}
