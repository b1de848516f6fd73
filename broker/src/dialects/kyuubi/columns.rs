//! Columns of a result, as Kyuubi describes them.

use arrow_schema::{DataType, Field, Schema};
use serde_json::{Value, json};

use crate::dialects::hs2::schema::{NO_COLUMNS, type_id};

/// The names of Thrift's types, by their numbers.
const NAMES: [&str; 23] = [
    "BOOLEAN_TYPE",
    "TINYINT_TYPE",
    "SMALLINT_TYPE",
    "INT_TYPE",
    "BIGINT_TYPE",
    "FLOAT_TYPE",
    "DOUBLE_TYPE",
    "STRING_TYPE",
    "TIMESTAMP_TYPE",
    "BINARY_TYPE",
    "ARRAY_TYPE",
    "MAP_TYPE",
    "STRUCT_TYPE",
    "UNION_TYPE",
    "USER_DEFINED_TYPE",
    "DECIMAL_TYPE",
    "NULL_TYPE",
    "DATE_TYPE",
    "VARCHAR_TYPE",
    "CHAR_TYPE",
    "INTERVAL_YEAR_MONTH_TYPE",
    "INTERVAL_DAY_TIME_TYPE",
    "TIMESTAMPLOCALTZ_TYPE",
];

/// The answer about a result's columns. A statement without columns has one for no row of text.
pub(super) fn describe(schema: &Schema) -> Value {
    let fields = schema.fields();
    let none = [Field::new(NO_COLUMNS, DataType::Utf8, true)];
    let columns: Vec<Value> = match fields.is_empty() {
        true => (0..).zip(&none).map(column).collect(),
        false => (0..).zip(fields.iter().map(AsRef::as_ref)).map(column).collect(),
    };
    json!({ "columns": columns })
}

fn column((index, field): (usize, &Field)) -> Value {
    let (precision, scale) = match field.data_type() {
        DataType::Decimal128(precision, scale) => (i32::from(*precision), i32::from(*scale)),
        _ => (0, 0),
    };
    let name = usize::try_from(type_id(field)).ok().and_then(|id| NAMES.get(id));
    json!({
        "columnName": field.name(),
        "dataType": name.unwrap_or(&"STRING_TYPE"),
        "columnIndex": index,
        "precision": precision,
        "scale": scale,
        "comment": field.metadata().get("comment").map_or("", String::as_str),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_tell_their_digits_and_the_rest_none() {
        // kyuubi#26
        let schema = Schema::new(vec![
            Field::new("d", DataType::Decimal128(10, 3), true),
            Field::new("n", DataType::Int64, true),
            Field::new("t", DataType::Date32, true),
        ]);
        let shown = describe(&schema);
        let first = json!({
            "columnName": "d", "dataType": "DECIMAL_TYPE", "columnIndex": 0, "precision": 10, "scale": 3, "comment": "",
        });
        assert_eq!(shown["columns"][0], first);
        assert_eq!(shown["columns"][1]["dataType"], "BIGINT_TYPE");
        assert_eq!(shown["columns"][2]["dataType"], "DATE_TYPE");
    }

    #[test]
    fn a_statement_without_columns_has_one() {
        let shown = describe(&Schema::empty());
        assert_eq!(shown["columns"].as_array().map(Vec::len), Some(1));
        assert_eq!(shown["columns"][0]["dataType"], "STRING_TYPE");
    }
}
