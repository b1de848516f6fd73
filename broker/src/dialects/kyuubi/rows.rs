//! Rows, from Arrow's columns straight to the bytes of JSON.

use std::io::Write as _;

use arrow_array::cast::AsArray as _;
use arrow_array::types::{Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type};
use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::dialects::hs2::rowset::widened;
use crate::dialects::hs2::schema::{Form, form};
use crate::dialects::sql::cursor::Page;
use crate::dialects::sql::text::Texts;

/// The first version of the protocol in which bytes are bytes. Before, they are text.
const BYTES_SINCE: i32 = 5;

/// A page as `{"rows": [...], "rowCount": n}`, for a client of this version of the protocol.
pub(super) fn write(page: &Page, protocol: i32) -> Vec<u8> {
    let mut out = br#"{"rows":["#.to_vec();
    let mut is_first = true;
    for batch in &page.batches {
        rows(&mut out, batch, protocol >= BYTES_SINCE, &mut is_first);
    }
    out.extend_from_slice(br#"],"rowCount":"#);
    out.extend_from_slice(page.rows().to_string().as_bytes());
    out.push(b'}');
    out
}

struct Column<'a> {
    array: &'a dyn Array,
    form: Form,
    texts: Texts<'a>,
}

impl<'a> Column<'a> {
    fn of(array: &'a dyn Array, has_bytes: bool) -> Self {
        let form = match form(array.data_type()) {
            Form::Bytes if !has_bytes => Form::Text,
            other => other,
        };
        Self {
            array,
            form,
            texts: Texts::of(array),
        }
    }
}

fn rows(out: &mut Vec<u8>, batch: &RecordBatch, has_bytes: bool, is_first: &mut bool) {
    let columns: Vec<Column<'_>> = batch
        .columns()
        .iter()
        .map(|array| Column::of(array.as_ref(), has_bytes))
        .collect();
    for row in 0..batch.num_rows() {
        if !std::mem::take(is_first) {
            out.push(b',');
        }
        out.extend_from_slice(br#"{"fields":["#);
        for (at, column) in columns.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            field(out, column, row);
        }
        out.extend_from_slice(b"]}");
    }
}

fn field(out: &mut Vec<u8>, column: &Column<'_>, row: usize) {
    out.extend_from_slice(br#"{"dataType":""#);
    out.extend_from_slice(name(column.form).as_bytes());
    out.extend_from_slice(br#"","value":"#);
    if column.array.is_null(row) || *column.array.data_type() == DataType::Null {
        out.extend_from_slice(b"null");
    } else {
        value(out, column, row);
    }
    out.push(b'}');
}

const fn name(form: Form) -> &'static str {
    match form {
        Form::Bool => "BOOL_VAL",
        Form::Byte => "BYTE_VAL",
        Form::Short => "I16_VAL",
        Form::Int => "I32_VAL",
        Form::Long => "I64_VAL",
        Form::Double => "DOUBLE_VAL",
        Form::Text => "STRING_VAL",
        Form::Bytes => "BINARY_VAL",
    }
}

fn value(out: &mut Vec<u8>, column: &Column<'_>, row: usize) {
    let array = column.array;
    match column.form {
        Form::Bool => plain(out, array.as_boolean().value(row)),
        Form::Byte => plain(out, array.as_primitive::<Int8Type>().value(row)),
        Form::Short => plain(out, array.as_primitive::<Int16Type>().value(row)),
        Form::Int => plain(out, array.as_primitive::<Int32Type>().value(row)),
        Form::Long => plain(out, array.as_primitive::<Int64Type>().value(row)),
        Form::Double if *array.data_type() == DataType::Float32 => {
            double(out, widened(array.as_primitive::<Float32Type>().value(row)));
        }
        Form::Double => double(out, array.as_primitive::<Float64Type>().value(row)),
        Form::Text => {
            let mut bytes = Vec::new();
            column.texts.write(row, &mut bytes);
            text(out, &String::from_utf8_lossy(&bytes));
        }
        Form::Bytes => text(out, &STANDARD.encode(bytes(array, row))),
    }
}

/// The bytes themselves, of which a text would keep only what is UTF-8.
fn bytes(array: &dyn Array, row: usize) -> &[u8] {
    match array.as_binary_opt::<i64>() {
        Some(large) => large.value(row),
        None => array.as_binary::<i32>().value(row),
    }
}

fn plain(out: &mut Vec<u8>, value: impl std::fmt::Display) {
    // Memory takes whatever is written to it.
    let _written = write!(out, "{value}");
}

/// JSON has no numbers for what is not finite: those are texts, in Java's words.
fn double(out: &mut Vec<u8>, value: f64) {
    match value {
        value if value.is_nan() => text(out, "NaN"),
        f64::INFINITY => text(out, "Infinity"),
        f64::NEG_INFINITY => text(out, "-Infinity"),
        value => drop(serde_json::to_writer(out, &value)),
    }
}

fn text(out: &mut Vec<u8>, value: &str) {
    drop(serde_json::to_writer(out, value));
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{
        ArrayRef, BinaryArray, BooleanArray, Decimal128Array, Float32Array, Float64Array, Int8Array,
        Int16Array, Int32Array, Int64Array, LargeBinaryArray, NullArray, StringArray,
    };
    use arrow_schema::{Field, Schema};
    use serde_json::{Value, json};

    use super::*;

    fn page(columns: Vec<ArrayRef>) -> Page {
        let fields: Vec<Field> = columns
            .iter()
            .map(|column| Field::new("c", column.data_type().clone(), true))
            .collect();
        let schema = Arc::new(Schema::new(fields));
        Page {
            schema: Arc::clone(&schema),
            start: 0,
            batches: vec![RecordBatch::try_new(schema, columns).unwrap()],
            more: false,
        }
    }

    fn shown(columns: Vec<ArrayRef>, protocol: i32) -> Value {
        serde_json::from_slice(&write(&page(columns), protocol)).unwrap()
    }

    #[test]
    fn every_type_has_its_name_and_its_kind_of_json() {
        // kyuubi#27, kyuubi#28, kyuubi#29, kyuubi#30
        let decimal = Decimal128Array::from(vec![Some(1500), None])
            .with_precision_and_scale(10, 3)
            .unwrap();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(BooleanArray::from(vec![Some(true), None])),
            Arc::new(Int8Array::from(vec![Some(-1), None])),
            Arc::new(Int16Array::from(vec![Some(2), None])),
            Arc::new(Int32Array::from(vec![Some(3), None])),
            Arc::new(Int64Array::from(vec![Some(i64::MAX), None])),
            Arc::new(Float32Array::from(vec![Some(1.2), None])),
            Arc::new(Float64Array::from(vec![Some(f64::NAN), None])),
            Arc::new(StringArray::from(vec![Some("a\"\u{e4}"), None])),
            Arc::new(decimal),
            Arc::new(BinaryArray::from(vec![Some(&b"hi"[..]), None])),
            Arc::new(BinaryArray::from(vec![Some(&b"\0\xff"[..]), None])),
            Arc::new(LargeBinaryArray::from(vec![Some(&b"\0\xff"[..]), None])),
            Arc::new(NullArray::new(2)),
        ];
        let found = shown(columns, 8);
        let wanted = [
            ("BOOL_VAL", json!(true)),
            ("BYTE_VAL", json!(-1)),
            ("I16_VAL", json!(2)),
            ("I32_VAL", json!(3)),
            ("I64_VAL", json!(i64::MAX)),
            ("DOUBLE_VAL", json!(1.2)),
            ("DOUBLE_VAL", json!("NaN")),
            ("STRING_VAL", json!("a\"\u{e4}")),
            ("STRING_VAL", json!("1.500")),
            ("BINARY_VAL", json!("aGk=")),
            ("BINARY_VAL", json!("AP8=")),
            ("BINARY_VAL", json!("AP8=")),
            ("STRING_VAL", Value::Null),
        ];
        assert_eq!(found["rowCount"], 2);
        for (at, (name, value)) in wanted.into_iter().enumerate() {
            let expected = json!({ "dataType": name, "value": value });
            assert_eq!(found["rows"][0]["fields"][at], expected);
            assert_eq!(found["rows"][1]["fields"][at]["value"], Value::Null);
        }
    }

    #[test]
    fn bytes_are_text_for_old_clients() {
        // kyuubi#29
        let found = shown(vec![Arc::new(BinaryArray::from(vec![&b"hi"[..]]))], 0);
        assert_eq!(
            found["rows"][0]["fields"][0],
            json!({ "dataType": "STRING_VAL", "value": "hi" })
        );
    }

    #[test]
    fn no_rows_are_an_empty_list() {
        // kyuubi#31
        let none: ArrayRef = Arc::new(Int32Array::from(Vec::<i32>::new()));
        assert_eq!(shown(vec![none], 0), json!({ "rows": [], "rowCount": 0 }));
    }
}
