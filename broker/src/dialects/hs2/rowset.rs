//! Rows, from Arrow's columns straight to Thrift's bytes.

use arrow_array::cast::AsArray as _;
use arrow_array::types::{
    ArrowPrimitiveType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
};
use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType;

use super::protocol::Version;
use super::schema::{Form, form};
use super::wire::{Out, kind};
use crate::dialects::sql::cursor::Page;
use crate::dialects::sql::text::Texts;

/// A `TRowSet` in a field.
pub(super) fn write(out: &mut Out, number: i16, page: &Page, version: Version) {
    out.fields(number, |out| {
        out.long(1, i64::try_from(page.start).unwrap_or(i64::MAX));
        if version < Version::COLUMNS {
            out.list(2, kind::STRUCT, page.rows());
            for batch in &page.batches {
                rows(out, batch);
            }
            return;
        }
        out.list(2, kind::STRUCT, 0);
        let fields = page.schema.fields();
        out.list(3, kind::STRUCT, fields.len().max(1));
        if fields.is_empty() {
            column(out, Form::Text, &[]);
        }
        for (at, field) in fields.iter().enumerate() {
            let arrays: Vec<&dyn Array> = page
                .batches
                .iter()
                .map(|batch| batch.column(at).as_ref())
                .collect();
            column(out, form(field.data_type()), &arrays);
        }
    });
}

/// A `TColumn`: the values, with a placeholder for each null, and a bit for each null.
fn column(out: &mut Out, form: Form, arrays: &[&dyn Array]) {
    let count = arrays.iter().map(|array| array.len()).sum();
    out.fields(form as i16, |out| {
        out.list(1, element(form), count);
        for array in arrays {
            values(out, form, *array);
        }
        out.bytes(2, &nulls(arrays, count));
    });
    out.stop();
}

const fn element(form: Form) -> u8 {
    match form {
        Form::Bool => kind::BOOL,
        Form::Byte => kind::BYTE,
        Form::Short => kind::I16,
        Form::Int => kind::I32,
        Form::Long => kind::I64,
        Form::Double => kind::DOUBLE,
        Form::Text | Form::Bytes => kind::TEXT,
    }
}

fn values(out: &mut Out, form: Form, array: &dyn Array) {
    match form {
        Form::Bool => {
            let flags = array.as_boolean().iter();
            flags.for_each(|flag| out.raw(&[u8::from(flag.unwrap_or_default())]));
        }
        Form::Byte => numbers::<Int8Type, 1>(out, array, i8::to_be_bytes),
        Form::Short => numbers::<Int16Type, 2>(out, array, i16::to_be_bytes),
        Form::Int => numbers::<Int32Type, 4>(out, array, i32::to_be_bytes),
        Form::Long => numbers::<Int64Type, 8>(out, array, i64::to_be_bytes),
        Form::Double if *array.data_type() == DataType::Float32 => {
            numbers::<Float32Type, 8>(out, array, |value| widened(value).to_be_bytes());
        }
        Form::Double => numbers::<Float64Type, 8>(out, array, f64::to_be_bytes),
        Form::Text => texts(out, array),
        Form::Bytes => bytes(out, array),
    }
}

fn numbers<T: ArrowPrimitiveType, const N: usize>(
    out: &mut Out,
    array: &dyn Array,
    bytes: impl Fn(T::Native) -> [u8; N],
) {
    let array = array.as_primitive::<T>();
    if array.null_count() == 0 {
        array.values().iter().for_each(|value| out.raw(&bytes(*value)));
        return;
    }
    let absent = T::default_value();
    array
        .iter()
        .for_each(|value| out.raw(&bytes(value.unwrap_or(absent))));
}

/// A float as the double that has the same digits, as Spark's own server sends it: 1.2, not 1.2000000476837158.
pub(crate) fn widened(value: f32) -> f64 {
    if value.is_finite() {
        value.to_string().parse().unwrap_or_else(|_odd| f64::from(value))
    } else {
        f64::from(value)
    }
}

fn texts(out: &mut Out, array: &dyn Array) {
    let texts = Texts::of(array);
    for row in 0..array.len() {
        if array.is_null(row) || *array.data_type() == DataType::Null {
            out.raw_bytes(b"");
        } else {
            out.raw_text(|out| texts.write(row, out));
        }
    }
}

fn bytes(out: &mut Out, array: &dyn Array) {
    let mut write = |value: Option<&[u8]>| out.raw_bytes(value.unwrap_or_default());
    if let Some(large) = array.as_binary_opt::<i64>() {
        large.iter().for_each(&mut write);
    } else if let Some(small) = array.as_binary_opt::<i32>() {
        small.iter().for_each(&mut write);
    }
}

/// A bit for each row, the first one lowest; none behind the last row.
fn nulls(arrays: &[&dyn Array], count: usize) -> Vec<u8> {
    let mut bits = vec![0; count.div_ceil(8)];
    let mut at = 0;
    for array in arrays {
        let all = *array.data_type() == DataType::Null;
        for row in 0..array.len() {
            if all || array.is_null(row) {
                bits[at / 8] |= 1 << (at % 8);
            }
            at += 1;
        }
    }
    bits
}

/// The rows of a batch, as versions before the columns have them.
fn rows(out: &mut Out, batch: &RecordBatch) {
    let columns: Vec<(Form, &dyn Array, Texts<'_>)> = batch
        .columns()
        .iter()
        .map(|column| (row_form(column.data_type()), column.as_ref(), Texts::of(column)))
        .collect();
    for row in 0..batch.num_rows() {
        out.list(1, kind::STRUCT, columns.len());
        for (form, array, texts) in &columns {
            out.fields(*form as i16, |out| {
                if !array.is_null(row) && *array.data_type() != DataType::Null {
                    cell(out, *form, *array, row, texts);
                }
            });
            out.stop();
        }
        out.stop();
    }
}

fn row_form(of: &DataType) -> Form {
    match form(of) {
        Form::Bytes => Form::Text,
        other => other,
    }
}

fn cell(out: &mut Out, form: Form, array: &dyn Array, row: usize, texts: &Texts<'_>) {
    out.field(element(form), 1);
    if matches!(form, Form::Text | Form::Bytes) {
        out.raw_text(|out| texts.write(row, out));
    } else {
        values(out, form, array.slice(row, 1).as_ref());
    }
}

#[cfg(test)]
mod tests;
