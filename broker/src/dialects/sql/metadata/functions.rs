//! Functions.

use std::collections::BTreeSet;

use arrow_array::RecordBatch;

use super::listing::Listings;
use super::nested::Schema;
use super::places::schemas;
use super::read::{first_parts, texts};
use super::shape::Cell;
use super::{GLOBAL_TEMP, Rows, Wanted, room};
use crate::dialects::sql::failure::Failure;
use crate::dialects::sql::opening::quoted;
use crate::dialects::sql::plan::Ask;
use crate::dialects::sql::session::Session;

/// The functions of a catalog's databases, and those that every one of them has.
pub(super) async fn functions(session: &Session, wanted: &Wanted) -> Result<Rows, Failure> {
    let mut rows = Vec::new();
    let mut seen = BTreeSet::new();
    let mut listings = Listings::of(session);
    for schema in schemas(session, &wanted.catalog, &wanted.schema).await? {
        if schema == Schema::plain(GLOBAL_TEMP) {
            continue;
        }
        let place = format!("{}.{}", quoted(&wanted.catalog), schema.quoted());
        let batches = listings.ask(Ask::Functions(&place)).await?;
        for batch in &batches {
            let listed = functions_of(batch).into_iter();
            let matching = listed.filter(|function| wanted.name.is_match(&function.name));
            let new =
                matching.filter(|function| seen.insert((function.schema.clone(), function.name.clone())));
            rows.extend(new.map(Function::row));
        }
        room(rows.len())?;
    }
    listings.end(rows)
}

/// A function.
struct Function {
    /// `None` for one that Spark has or the session has made.
    schema: Option<String>,
    name: String,
    description: String,
    class: String,
}

impl Function {
    fn row(self) -> Vec<Cell> {
        vec![
            Cell::text(""),
            self.schema.map_or(Cell::Null, Cell::Text),
            Cell::Text(self.name),
            Cell::Text(self.description),
            Cell::Int(0),
            Cell::Text(self.class),
        ]
    }
}

/// What a listing of functions has.
fn functions_of(batch: &RecordBatch) -> Vec<Function> {
    let (names, descriptions, classes) = (texts(batch, 0), texts(batch, 3), texts(batch, 4));
    let schemas = first_parts(batch, 2);
    let text = |of: &[Option<String>], row: usize| of.get(row).cloned().flatten();
    (0..batch.num_rows())
        .map(|row| Function {
            schema: text(&schemas, row),
            name: text(&names, row).unwrap_or_default(),
            description: text(&descriptions, row).unwrap_or_default(),
            class: text(&classes, row).unwrap_or_default(),
        })
        .collect()
}
