use std::sync::Arc;

use arrow_array::{ArrayRef, BinaryArray, Float32Array, Int32Array, StringArray};
use arrow_schema::{Field, Schema};

use super::super::wire::{read, reply};
use super::*;

fn page(columns: Vec<ArrayRef>) -> Page {
    let fields: Vec<Field> = columns
        .iter()
        .map(|column| Field::new("c", column.data_type().clone(), true))
        .collect();
    let schema = Arc::new(Schema::new(fields));
    let batches = match columns.is_empty() {
        true => Vec::new(),
        false => vec![RecordBatch::try_new(Arc::clone(&schema), columns).unwrap()],
    };
    Page {
        schema,
        start: 0,
        batches,
        more: false,
    }
}

/// What a client reads of a page, with the bytes behind the head of the reply.
fn sent(page: &Page, version: i32) -> Vec<u8> {
    let asked = [0, 0, 0, 1, b'x', 1, 0, 0, 0, 0, 0];
    let mut bytes = reply(&read(&asked).unwrap(), |out| {
        write(out, 1, page, Version::of(version))
    });
    // A reply is read as a call here.
    bytes[3] = 1;
    bytes
}

#[test]
fn i_nulls_have_their_bit_and_no_bit_is_beyond_the_last_row() {
    // hs2#32
    for count in [1, 7, 8, 9, 64, 65] {
        let numbers: Int32Array = (0..count).map(|n| (n + 1 < count).then_some(n)).collect();
        let array: &dyn Array = &numbers;
        let rows = usize::try_from(count).unwrap();
        let bits = nulls(&[array], rows);
        assert_eq!(bits.len(), rows.div_ceil(8));
        let set: u32 = bits.iter().map(|byte| byte.count_ones()).sum();
        assert_eq!((set, bits[(rows - 1) / 8] >> ((rows - 1) % 8)), (1, 1), "{count}");
    }
}

#[test]
fn columns_and_rows_say_the_same() {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int32Array::from(vec![Some(-1), None])),
        Arc::new(StringArray::from(vec![Some("\u{1f600}"), None])),
        Arc::new(BinaryArray::from_opt_vec(vec![Some(&[0, 255][..]), None])),
    ];
    let page = page(columns);
    let bytes = sent(&page, 5);
    let message = read(&bytes).unwrap();
    let set = message.arguments.fields(0).unwrap().fields(1).unwrap();
    let shown = format!("{set:?}");
    assert!(shown.contains("Number(-1), Number(0)"), "{shown}");
    assert!(shown.contains("Bytes([0, 255])"), "{shown}");

    let bytes = sent(&page, 4);
    let message = read(&bytes).unwrap();
    let set = message.arguments.fields(0).unwrap().fields(1).unwrap();
    let shown = format!("{set:?}");
    assert!(shown.contains("(1, Number(-1))"), "{shown}");
    assert!(shown.contains("(4, Struct(Fields([])))"), "{shown}");
}

#[test]
fn a_result_without_columns_has_one_and_no_row() {
    // hs2#29, hs2#30
    let bytes = sent(&page(Vec::new()), 5);
    let message = read(&bytes).unwrap();
    let set = message.arguments.fields(0).unwrap().fields(1).unwrap();
    assert_eq!(set.texts(2), Some(Vec::new()));
    let column = format!("{set:?}");
    assert!(
        column.contains("(7, Struct(Fields([(1, List([])), (2, Bytes([]))])))"),
        "{column}"
    );
}

#[test]
fn floats_keep_their_digits() {
    // hs2#33
    let floats = Float32Array::from(vec![1.2f32, f32::NAN, f32::INFINITY, -3.4e38]);
    assert_eq!(widened(floats.value(0)).to_bits(), 1.2f64.to_bits());
    assert!(widened(floats.value(1)).is_nan() && widened(floats.value(2)).is_infinite());
    assert_eq!(widened(floats.value(3)).to_bits(), (-3.4e38f64).to_bits());
}
