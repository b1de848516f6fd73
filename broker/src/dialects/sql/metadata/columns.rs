//! Columns of tables and views.

use arrow_array::RecordBatch;

use super::pattern::Pattern;
use super::read::{flags, texts};
use super::shape::{self, Cell};
use super::tables::{Table, tables};
use super::types::Described;
use super::{Rows, Wanted, room};
use crate::dialects::sql::failure::Failure;
use crate::dialects::sql::plan::{self, Ask};
use crate::dialects::sql::session::Session;

/// The columns whose names match, of the tables that are wanted.
pub(super) async fn columns(session: &Session, wanted: &Wanted, pattern: &Pattern) -> Result<Rows, Failure> {
    let mut rows = Vec::new();
    for table in tables(session, wanted).await? {
        let ask = table.quoted(&wanted.catalog);
        let batches = match session.whole(&plan::catalog(&Ask::Columns(&ask))).await {
            Ok(batches) => batches,
            // A view over something that is gone must not hide all other tables.
            Err(failure) if !failure.is_passing => continue,
            Err(failure) => return Err(failure),
        };
        let mut position = 0;
        for batch in &batches {
            let found = columns_of(batch, &wanted.catalog, &table, &mut position).into_iter();
            let matching = found.filter(|(name, _)| pattern.is_match(name));
            rows.extend(matching.map(|(_, row)| row));
        }
        room(rows.len())?;
    }
    Ok(rows)
}

/// What a listing of a table's columns has: the name and the row of each. `position` counts on from batch to batch.
fn columns_of(
    batch: &RecordBatch,
    catalog: &str,
    table: &Table,
    position: &mut i32,
) -> Vec<(String, Vec<Cell>)> {
    let (names, comments, kinds) = (texts(batch, 0), texts(batch, 1), texts(batch, 2));
    let nullable = flags(batch, 3);
    let schema = table.schema();
    let mut rows = Vec::with_capacity(batch.num_rows());
    for row in 0..batch.num_rows() {
        *position += 1;
        let name = names.get(row).cloned().flatten().unwrap_or_default();
        let column = shape::Column {
            catalog,
            schema: &schema,
            table: &table.name,
            name: &name,
            comment: comments.get(row).and_then(Option::as_deref).unwrap_or_default(),
            nullable: nullable.get(row).copied().unwrap_or(true),
            position: *position,
        };
        let kind = kinds.get(row).and_then(Option::as_deref).unwrap_or_default();
        let described = column.row(&Described::read(kind));
        rows.push((name, described));
    }
    rows
}
