use std::time::Duration;

use bytes::BytesMut;

use super::*;

/// Rows of one message.
const MESSAGE: u64 = 10;
/// Bytes of one message.
const BYTES: usize = 10;

fn spool(memory: u64, disk: u64) -> (tempfile::TempDir, Arc<Spool>) {
    let directory = tempfile::tempdir().unwrap();
    let spool = Spool::new(directory.path().to_owned(), memory, disk, disk);
    (directory, spool)
}

fn message(number: u8) -> Bytes {
    BytesMut::from(&[number; BYTES][..]).freeze()
}

/// Adds messages until there is no room for more, and says how many there was room for.
async fn fill(buffer: &Buffer, writer: &mut Writer, from: u8) -> u8 {
    for number in from.. {
        let mut adding = Box::pin(buffer.add(writer, MESSAGE, message(number)));
        tokio::select! {
            biased;
            () = &mut adding => {}
            () = buffer.until(|state| state.waits) => return number,
        }
    }
    unreachable!("there is always room");
}

async fn number_at(buffer: &Buffer, row: u64) -> u8 {
    let segment = buffer.find(row).await.unwrap().unwrap();
    assert_eq!((segment.start, segment.rows), (row / MESSAGE * MESSAGE, MESSAGE));
    let data = match segment.data {
        Data::Memory(bytes, _) => bytes,
        Data::Disk(stored) => stored.read().await.unwrap(),
        Data::Table(_) => panic!("no table was added"),
    };
    data[0]
}

fn in_memory(buffer: &Buffer) -> Vec<u64> {
    let state = buffer.lock();
    let segments = state.segments.iter();
    let kept = segments.filter(|segment| matches!(segment.data, Data::Memory(..)));
    kept.map(|segment| segment.start / MESSAGE).collect()
}

#[tokio::test]
async fn what_memory_has_no_room_for_is_on_disk() {
    let (_directory, spool) = spool(1000, 1000);
    let buffer = Buffer::new(Arc::clone(&spool), 25, 1000);
    let mut writer = spool.writer();
    for number in 0..20 {
        buffer.add(&mut writer, MESSAGE, message(number)).await;
    }
    assert!(buffer.finish(Ok(())));
    assert_eq!((spool.memory.used(), spool.disk_bytes()), (20, 180));
    for number in (0..20).rev() {
        assert_eq!(number_at(&buffer, u64::from(number) * MESSAGE + 3).await, number);
    }
    assert!(buffer.find(200).await.unwrap().is_none());
    drop((buffer, writer));
    assert_eq!((spool.memory.used(), spool.disk_bytes()), (0, 0));
}

#[tokio::test]
async fn what_was_read_makes_room_in_memory_for_what_comes() {
    let (_directory, spool) = spool(1000, 1000);
    let buffer = Buffer::new(Arc::clone(&spool), 25, 1000);
    let mut writer = spool.writer();
    for number in 0..2 {
        buffer.add(&mut writer, MESSAGE, message(number)).await;
    }
    buffer.read_to(10);
    buffer.add(&mut writer, MESSAGE, message(2)).await;
    assert_eq!(in_memory(&buffer), [1, 2]);
    assert_eq!(number_at(&buffer, 0).await, 0, "it is on disk now");
}

#[tokio::test]
async fn i8_a_result_that_nobody_reads_stops_at_its_bounds() {
    let (_directory, spool) = spool(1000, 50);
    let buffer = Buffer::new(Arc::clone(&spool), 25, 1000);
    let mut writer = spool.writer();
    assert_eq!(fill(&buffer, &mut writer, 0).await, 7);
    assert_eq!((spool.memory.used(), spool.disk_bytes()), (20, 50));
}

#[tokio::test]
async fn without_disk_what_was_read_is_forgotten_and_the_rest_goes_on() {
    let (_directory, spool) = spool(1000, 0);
    let buffer = Buffer::new(Arc::clone(&spool), 25, 1000);
    let mut writer = spool.writer();
    let mut next = 0;
    for read in 0..20 {
        next = fill(&buffer, &mut writer, next).await;
        assert_eq!(next, read + 2);
        assert_eq!(number_at(&buffer, u64::from(read) * MESSAGE).await, read);
        buffer.read_to(u64::from(read + 1) * MESSAGE);
    }
    assert!(!buffer.turn_to(189) && buffer.turn_to(190));
    assert_eq!(
        buffer.find(0).await.unwrap_err(),
        Failure::gone(0),
        "it is not taken for the end"
    );
}

#[tokio::test]
async fn a_client_that_waits_gets_what_comes_though_there_is_no_room() {
    let (_directory, spool) = spool(0, 0);
    let buffer = Buffer::new(Arc::clone(&spool), 0, 1000);
    let mut writer = spool.writer();
    let mut next = 0;
    for read in 0..5 {
        next = fill(&buffer, &mut writer, next).await;
        assert_eq!(next, read + 1);
        assert_eq!(number_at(&buffer, u64::from(read) * MESSAGE).await, read);
        buffer.read_to(u64::from(read + 1) * MESSAGE);
    }
}

#[tokio::test]
async fn a_reader_waits_for_rows_and_hears_of_the_end_behind_them() {
    let (_directory, spool) = spool(1000, 1000);
    let buffer = Buffer::new(Arc::clone(&spool), 100, 1000);
    let mut writer = spool.writer();
    let read = async { (number_at(&buffer, 0).await, buffer.find(MESSAGE).await) };
    let written = async {
        buffer.add(&mut writer, MESSAGE, message(7)).await;
        assert!(buffer.finish(Err(Failure::canceled())));
        assert!(!buffer.finish(Ok(())), "an end is an end");
    };
    let ((number, end), ()) = tokio::join!(read, written);
    assert_eq!(number, 7);
    assert_eq!(end.unwrap_err(), Failure::canceled());
    assert_eq!(number_at(&buffer, 0).await, 7, "the rows before it are there");
}

#[tokio::test]
async fn a_client_begins_with_enough_or_when_there_is_no_room_without_it() {
    // hs2#25, kyuubi#24
    let cases = [
        // Enough is here.
        (1000, 1000, 30, 3),
        // The first rows are enough.
        (1000, 1000, 0, 1),
        // Nothing is read, and there is room for two messages.
        (25, 0, 1000, 3),
    ];
    for (memory, disk, enough, begins_with) in cases {
        let (_directory, spool) = spool(memory, disk);
        let buffer = Buffer::new(Arc::clone(&spool), 1000, enough);
        let mut writer = spool.writer();
        for number in 1..=begins_with {
            let poor = tokio::time::timeout(Duration::ZERO, buffer.ample()).await;
            assert!(poor.is_err(), "{number} of {enough}");
            let adding = buffer.add(&mut writer, MESSAGE, message(number));
            tokio::select! {
                biased;
                () = adding => {}
                () = buffer.until(|state| state.waits) => {}
            }
        }
        buffer.ample().await;
    }
}
