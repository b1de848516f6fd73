//! Values out of what Spark's catalog answers.

use arrow_array::cast::AsArray as _;
use arrow_array::{Array as _, RecordBatch};

/// A column of texts; empty if it is none.
pub(super) fn texts(batch: &RecordBatch, column: usize) -> Vec<Option<String>> {
    let column = batch.columns().get(column);
    let texts = column.and_then(|column| column.as_string_opt::<i32>());
    let texts = texts.into_iter().flat_map(|texts| texts.iter());
    texts.map(|text| text.map(str::to_owned)).collect()
}

/// A column of flags; empty if it is none.
pub(super) fn flags(batch: &RecordBatch, column: usize) -> Vec<bool> {
    let flags = batch
        .columns()
        .get(column)
        .and_then(|column| column.as_boolean_opt());
    let flags = flags.into_iter().flat_map(|flags| flags.iter());
    flags.map(|flag| flag.unwrap_or_default()).collect()
}

/// The names in a column of lists of names, each put together.
pub(super) fn first_parts(batch: &RecordBatch, column: usize) -> Vec<Option<String>> {
    let lists = batch
        .columns()
        .get(column)
        .and_then(|column| column.as_list_opt::<i32>());
    let lists = lists.into_iter().flat_map(|lists| lists.iter());
    lists
        .map(|list| {
            let list = list.filter(|list| !list.is_empty())?;
            let parts: Vec<&str> = list.as_string_opt::<i32>()?.iter().flatten().collect();
            Some(parts.join("."))
        })
        .collect()
}
