//! Columns of a result, as Thrift describes them.

use arrow_schema::{DataType, Field, IntervalUnit, Schema};

use super::wire::{Out, kind};

/// How a column's values are sent, in the numbers of `TColumn`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Bool = 1,
    Byte = 2,
    Short = 3,
    Int = 4,
    Long = 5,
    Double = 6,
    Text = 7,
    Bytes = 8,
}

/// How the values of a type are sent in columns.
pub(crate) fn form(of: &DataType) -> Form {
    match of {
        DataType::Boolean => Form::Bool,
        DataType::Int8 => Form::Byte,
        DataType::Int16 => Form::Short,
        DataType::Int32 => Form::Int,
        DataType::Int64 => Form::Long,
        DataType::Float32 | DataType::Float64 => Form::Double,
        DataType::Binary | DataType::LargeBinary => Form::Bytes,
        _ => Form::Text,
    }
}

/// `TTypeId`.
pub(crate) fn type_id(field: &Field) -> i32 {
    match field.data_type() {
        DataType::Boolean => 0,
        DataType::Int8 => 1,
        DataType::Int16 => 2,
        DataType::Int32 => 3,
        DataType::Int64 => 4,
        DataType::Float32 => 5,
        DataType::Float64 => 6,
        DataType::Timestamp(..) => 8,
        DataType::Binary | DataType::LargeBinary => 9,
        DataType::List(_) => 10,
        DataType::Map(..) => 11,
        DataType::Struct(parts) if !parts.iter().any(|part| part.metadata().contains_key("variant")) => 12,
        DataType::Decimal128(..) => 15,
        DataType::Null => 16,
        DataType::Date32 => 17,
        DataType::Interval(IntervalUnit::YearMonth) => 20,
        DataType::Duration(_) => 21,
        _ => 7,
    }
}

/// What a statement without columns is told to have: no row of text.
pub(crate) const NO_COLUMNS: &str = "Result";

/// A `TTableSchema` in a field.
pub(super) fn write(out: &mut Out, number: i16, schema: &Schema) {
    out.fields(number, |out| {
        let fields = schema.fields();
        out.list(1, kind::STRUCT, fields.len().max(1));
        if fields.is_empty() {
            column(out, 1, &Field::new(NO_COLUMNS, DataType::Utf8, true));
        }
        for (position, field) in (1..).zip(fields) {
            column(out, position, field);
        }
    });
}

fn column(out: &mut Out, position: i32, field: &Field) {
    out.text(1, field.name());
    out.fields(2, |out| {
        out.list(1, kind::STRUCT, 1);
        // `TTypeEntry`: clients read the primitive one only, also of types that are none.
        out.fields(1, |out| {
            out.int(1, type_id(field));
            if let DataType::Decimal128(precision, scale) = field.data_type() {
                qualifiers(
                    out,
                    &[("precision", i32::from(*precision)), ("scale", i32::from(*scale))],
                );
            }
        });
        out.stop();
    });
    out.int(3, position);
    if let Some(comment) = field.metadata().get("comment") {
        out.text(4, comment);
    }
    out.stop();
}

fn qualifiers(out: &mut Out, values: &[(&str, i32)]) {
    out.fields(2, |out| {
        out.field(kind::MAP, 1);
        out.raw(&[kind::TEXT]);
        out.raw_list(kind::STRUCT, values.len());
        for (name, value) in values {
            out.raw_bytes(name.as_bytes());
            out.int(1, *value);
            out.stop();
        }
    });
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_schema::{Fields, TimeUnit};

    use super::*;

    #[test]
    fn every_type_of_spark_has_its_number() {
        // hs2#31
        let item = || Arc::new(Field::new("item", DataType::Int32, true));
        let cases = [
            (DataType::Boolean, 0),
            (DataType::Int8, 1),
            (DataType::Int64, 4),
            (DataType::Float32, 5),
            (DataType::Utf8, 7),
            (DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), 8),
            (DataType::Timestamp(TimeUnit::Microsecond, None), 8),
            (DataType::Binary, 9),
            (DataType::List(item()), 10),
            (DataType::Struct(Fields::from(vec![item()])), 12),
            (DataType::Decimal128(38, 18), 15),
            (DataType::Null, 16),
            (DataType::Date32, 17),
            (DataType::Interval(IntervalUnit::YearMonth), 20),
            (DataType::Duration(TimeUnit::Microsecond), 21),
            (DataType::Interval(IntervalUnit::MonthDayNano), 7),
        ];
        for (of, id) in cases {
            assert_eq!(type_id(&Field::new("c", of.clone(), true)), id, "{of}");
        }
    }
}
