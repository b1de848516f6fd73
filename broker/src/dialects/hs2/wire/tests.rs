use proptest::prelude::*;

use super::*;

/// A call `name` with one struct of arguments.
pub(crate) fn call(name: &str, write: impl FnOnce(&mut Out)) -> Vec<u8> {
    let mut out = Out::default();
    out.raw_i32((VERSION | u32::from(CALL)).cast_signed());
    out.raw_bytes(name.as_bytes());
    out.raw_i32(7);
    out.fields(1, write);
    out.stop();
    out.0
}

fn sample() -> Vec<u8> {
    call("ExecuteStatement", |out| {
        out.fields(1, |handle| handle.bytes(1, &[0, 255]));
        out.text(2, "select 1");
        out.pairs(3, &[("a", "b".to_owned())]);
        out.flag(4, true);
        out.long(5, -9);
        out.list(99, kind::TEXT, 1);
        out.raw_bytes(b"new");
    })
}

#[test]
fn a_call_is_read_and_fields_of_later_versions_are_skipped() {
    // hs2#13
    let bytes = sample();
    let message = read(&bytes).unwrap();
    assert_eq!((message.name, message.sequence), ("ExecuteStatement", 7));
    assert_eq!(message.length, bytes.len());
    let request = message.arguments.fields(1).unwrap();
    assert_eq!(request.fields(1).unwrap().bytes(1), Some(&[0, 255][..]));
    assert_eq!(request.text(2).as_deref(), Some("select 1"));
    assert_eq!(request.pairs(3), [("a".to_owned(), "b".to_owned())]);
    assert!(request.flag(4) && !request.flag(6));
    assert_eq!(request.number(5), Some(-9));
    assert_eq!(request.texts(99), Some(vec!["new".to_owned()]));
}

#[test]
fn the_old_form_of_the_head_is_read() {
    // hs2#8
    let mut bytes = vec![0, 0, 0, 2, b'h', b'i', CALL, 0, 0, 0, 3, 0];
    let message = read(&bytes).unwrap();
    assert_eq!((message.name, message.sequence), ("hi", 3));
    bytes[6] = REPLY;
    assert_eq!(read(&bytes), Err(Fault::Broken("it is no call")));
}

#[test]
fn every_cut_message_says_that_it_is_short_and_two_in_a_row_are_told_apart() {
    // hs2#6
    let bytes = sample();
    for end in 0..bytes.len() {
        assert!(
            matches!(read(&bytes[..end]), Err(Fault::Short(needed)) if needed > end),
            "{end}"
        );
    }
    let two = [bytes.clone(), bytes.clone()].concat();
    assert_eq!(read(&two).unwrap().length, bytes.len());
}

#[test]
fn i8_what_would_take_memory_or_stack_without_end_is_refused() {
    let nested = |kind: u8| {
        let mut bytes = vec![0, 0, 0, 1, b'x', CALL, 0, 0, 0, 0];
        for _ in 0..1000 {
            bytes.extend([kind, 0, 1]);
        }
        bytes
    };
    assert_eq!(
        read(&nested(kind::STRUCT)),
        Err(Fault::Broken("it has too many values"))
    );
    let mut list = call("x", |out| out.list(1, kind::BOOL, i32::MAX as usize));
    list.resize(200_000, 0);
    assert_eq!(read(&list), Err(Fault::Broken("it has too many values")));
    let long = call("x", |out| {
        out.field(kind::TEXT, 1);
        out.raw_i32(-1);
    });
    assert_eq!(read(&long), Err(Fault::Broken("a size is negative")));
    assert_eq!(
        read(b"GET / HTTP/1.1"),
        Err(Fault::Broken("the name of its method is too long"))
    );
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), strict in any::<bool>()) {
        let mut bytes = bytes;
        if strict && bytes.len() > 4 {
            bytes[..4].copy_from_slice(&[0x80, 1, 0, 1]);
        }
        drop(read(&bytes));
    }
}
