//! The columns of each answer, and tables made of them.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, BooleanArray, Int8Array, Int16Array, Int32Array, RecordBatch, RecordBatchOptions, StringArray,
};
use arrow_schema::{DataType, Field, Schema};

use super::super::failure::Failure;
use super::types::Described;

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    Text,
    Int,
    Small,
    Tiny,
    Flag,
}
use Of::{Flag, Int, Small, Text, Tiny};

/// The columns of an answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape(&'static [(&'static str, Of)]);

pub(super) const CATALOGS: Shape = Shape(&[("TABLE_CAT", Text)]);
pub(super) const SCHEMAS: Shape = Shape(&[("TABLE_SCHEM", Text), ("TABLE_CATALOG", Text)]);
pub(super) const TABLE_TYPES: Shape = Shape(&[("TABLE_TYPE", Text)]);
pub(super) const TABLES: Shape = Shape(&[
    ("TABLE_CAT", Text),
    ("TABLE_SCHEM", Text),
    ("TABLE_NAME", Text),
    ("TABLE_TYPE", Text),
    ("REMARKS", Text),
    ("TYPE_CAT", Text),
    ("TYPE_SCHEM", Text),
    ("TYPE_NAME", Text),
    ("SELF_REFERENCING_COL_NAME", Text),
    ("REF_GENERATION", Text),
]);
pub(super) const COLUMNS: Shape = Shape(&[
    ("TABLE_CAT", Text),
    ("TABLE_SCHEM", Text),
    ("TABLE_NAME", Text),
    ("COLUMN_NAME", Text),
    ("DATA_TYPE", Int),
    ("TYPE_NAME", Text),
    ("COLUMN_SIZE", Int),
    ("BUFFER_LENGTH", Tiny),
    ("DECIMAL_DIGITS", Int),
    ("NUM_PREC_RADIX", Int),
    ("NULLABLE", Int),
    ("REMARKS", Text),
    ("COLUMN_DEF", Text),
    ("SQL_DATA_TYPE", Int),
    ("SQL_DATETIME_SUB", Int),
    ("CHAR_OCTET_LENGTH", Int),
    ("ORDINAL_POSITION", Int),
    ("IS_NULLABLE", Text),
    ("SCOPE_CATALOG", Text),
    ("SCOPE_SCHEMA", Text),
    ("SCOPE_TABLE", Text),
    ("SOURCE_DATA_TYPE", Small),
    ("IS_AUTO_INCREMENT", Text),
]);
pub(super) const FUNCTIONS: Shape = Shape(&[
    ("FUNCTION_CAT", Text),
    ("FUNCTION_SCHEM", Text),
    ("FUNCTION_NAME", Text),
    ("REMARKS", Text),
    ("FUNCTION_TYPE", Int),
    ("SPECIFIC_NAME", Text),
]);
pub(super) const TYPE_INFO: Shape = Shape(&[
    ("TYPE_NAME", Text),
    ("DATA_TYPE", Int),
    ("PRECISION", Int),
    ("LITERAL_PREFIX", Text),
    ("LITERAL_SUFFIX", Text),
    ("CREATE_PARAMS", Text),
    ("NULLABLE", Small),
    ("CASE_SENSITIVE", Flag),
    ("SEARCHABLE", Small),
    ("UNSIGNED_ATTRIBUTE", Flag),
    ("FIXED_PREC_SCALE", Flag),
    ("AUTO_INCREMENT", Flag),
    ("LOCAL_TYPE_NAME", Text),
    ("MINIMUM_SCALE", Small),
    ("MAXIMUM_SCALE", Small),
    ("SQL_DATA_TYPE", Int),
    ("SQL_DATETIME_SUB", Int),
    ("NUM_PREC_RADIX", Int),
]);
// Hive spells it so.
const SEQUENCE: &str = "KEQ_SEQ";
pub(super) const PRIMARY_KEYS: Shape = Shape(&[
    ("TABLE_CAT", Text),
    ("TABLE_SCHEM", Text),
    ("TABLE_NAME", Text),
    ("COLUMN_NAME", Text),
    (SEQUENCE, Int),
    ("PK_NAME", Text),
]);
pub(super) const CROSS_REFERENCE: Shape = Shape(&[
    ("PKTABLE_CAT", Text),
    ("PKTABLE_SCHEM", Text),
    ("PKTABLE_NAME", Text),
    ("PKCOLUMN_NAME", Text),
    ("FKTABLE_CAT", Text),
    ("FKTABLE_SCHEM", Text),
    ("FKTABLE_NAME", Text),
    ("FKCOLUMN_NAME", Text),
    (SEQUENCE, Int),
    ("UPDATE_RULE", Int),
    ("DELETE_RULE", Int),
    ("FK_NAME", Text),
    ("PK_NAME", Text),
    ("DEFERRABILITY", Int),
]);

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cell {
    Null,
    Text(String),
    Int(i32),
    Flag(bool),
}

impl Cell {
    pub(super) fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }

    pub(super) fn number(number: Option<i32>) -> Self {
        number.map_or(Self::Null, Self::Int)
    }

    fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Null | Self::Int(_) | Self::Flag(_) => None,
        }
    }

    fn as_number(&self) -> Option<i32> {
        match self {
            Self::Int(number) => Some(*number),
            Self::Null | Self::Text(_) | Self::Flag(_) => None,
        }
    }

    fn as_flag(&self) -> Option<bool> {
        match self {
            Self::Flag(flag) => Some(*flag),
            Self::Null | Self::Text(_) | Self::Int(_) => None,
        }
    }
}

impl Shape {
    /// A table of these columns.
    ///
    /// # Errors
    /// The rows do not fit, which would be a fault of this program.
    pub(super) fn table(self, rows: &[Vec<Cell>]) -> Result<RecordBatch, Failure> {
        let fields: Vec<Field> = self
            .0
            .iter()
            .map(|(name, of)| Field::new(*name, of.arrow(), true))
            .collect();
        let schema = Arc::new(Schema::new(fields));
        let columns = self
            .0
            .iter()
            .enumerate()
            .map(|(at, (_, of))| of.column(rows, at))
            .collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        let table = RecordBatch::try_new_with_options(schema, columns, &options);
        table.map_err(|error| Failure::invalid(format!("the answer cannot be put together: {error}")))
    }
}

impl Of {
    const fn arrow(self) -> DataType {
        match self {
            Self::Text => DataType::Utf8,
            Self::Int => DataType::Int32,
            Self::Small => DataType::Int16,
            Self::Tiny => DataType::Int8,
            Self::Flag => DataType::Boolean,
        }
    }

    fn column(self, rows: &[Vec<Cell>], at: usize) -> ArrayRef {
        let cells = rows.iter().map(|row| row.get(at).unwrap_or(&Cell::Null));
        match self {
            Self::Text => Arc::new(cells.map(Cell::as_text).collect::<StringArray>()),
            Self::Int => Arc::new(cells.map(Cell::as_number).collect::<Int32Array>()),
            Self::Small => {
                let small = |cell: &Cell| cell.as_number().and_then(|number| i16::try_from(number).ok());
                Arc::new(cells.map(small).collect::<Int16Array>())
            }
            Self::Tiny => {
                let tiny = |cell: &Cell| cell.as_number().and_then(|number| i8::try_from(number).ok());
                Arc::new(cells.map(tiny).collect::<Int8Array>())
            }
            Self::Flag => Arc::new(cells.map(Cell::as_flag).collect::<BooleanArray>()),
        }
    }
}

/// A column of a table, as it is described.
#[derive(Debug)]
pub(super) struct Column<'a> {
    pub(super) catalog: &'a str,
    pub(super) schema: &'a str,
    pub(super) table: &'a str,
    pub(super) name: &'a str,
    pub(super) comment: &'a str,
    pub(super) nullable: bool,
    /// From 1, as JDBC counts.
    pub(super) position: i32,
}

impl Column<'_> {
    /// Its row in [`COLUMNS`].
    pub(super) fn row(&self, described: &Described) -> Vec<Cell> {
        vec![
            Cell::text(self.catalog),
            Cell::text(self.schema),
            Cell::text(self.table),
            Cell::text(self.name),
            Cell::Int(described.jdbc),
            Cell::text(&described.name),
            Cell::number(described.size),
            Cell::Null,
            Cell::number(described.digits),
            Cell::number(described.radix),
            Cell::Int(i32::from(self.nullable)),
            Cell::text(self.comment),
            Cell::Null,
            Cell::Null,
            Cell::Null,
            Cell::Null,
            Cell::Int(self.position),
            Cell::text("YES"),
            Cell::Null,
            Cell::Null,
            Cell::Null,
            Cell::Null,
            Cell::text("NO"),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_every_column_of_its_shape() {
        // hs2#45
        let column = Column {
            catalog: "c",
            schema: "s",
            table: "t",
            name: "n",
            comment: "",
            nullable: true,
            position: 1,
        };
        assert_eq!(column.row(&Described::read("int")).len(), COLUMNS.0.len());
        let table = TYPE_INFO.table(&super::super::types::info()).unwrap();
        let schema = table.schema();
        assert_eq!((schema.fields().len(), table.num_rows()), (18, 17));
    }
}
