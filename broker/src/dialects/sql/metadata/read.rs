//! Values out of what Spark's catalog answers.

use arrow_array::cast::AsArray as _;
use arrow_array::{Array, RecordBatch};

/// A column of texts; empty if it is none.
pub(super) fn texts(batch: &RecordBatch, column: usize) -> Vec<Option<String>> {
    let column = batch.columns().get(column);
    column.map(|column| all(column.as_ref())).unwrap_or_default()
}

/// The texts of an array, which are large where a session's `spark.sql.execution.arrow.useLargeVarTypes` says so.
fn all(array: &dyn Array) -> Vec<Option<String>> {
    let owned = |text: Option<&str>| text.map(str::to_owned);
    if let Some(large) = array.as_string_opt::<i64>() {
        return large.iter().map(owned).collect();
    }
    let texts = array.as_string_opt::<i32>();
    texts.into_iter().flatten().map(owned).collect()
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
            let parts: Vec<String> = all(list.as_ref()).into_iter().flatten().collect();
            Some(parts.join("."))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, LargeStringArray, StringArray};

    use super::*;

    #[test]
    fn texts_are_read_whatever_their_size() {
        let (small, large): (ArrayRef, ArrayRef) = (
            Arc::new(StringArray::from(vec![Some("a"), None])),
            Arc::new(LargeStringArray::from(vec![Some("a"), None])),
        );
        for column in [small, large] {
            let batch = RecordBatch::try_from_iter_with_nullable([("c", column, true)]).unwrap();
            assert_eq!(texts(&batch, 0), [Some("a".to_owned()), None]);
            assert!(texts(&batch, 1).is_empty());
        }
    }
}
