//! Tables and views.

use std::collections::BTreeSet;

use arrow_array::RecordBatch;

use super::listing::Listings;
use super::nested::Schema;
use super::places::schemas;
use super::read::{first_parts, flags, texts};
use super::shape::Cell;
use super::{GLOBAL_TEMP, Wanted, room};
use crate::dialects::sql::failure::Failure;
use crate::dialects::sql::opening::quoted;
use crate::dialects::sql::plan::Ask;
use crate::dialects::sql::session::Session;

/// A table or view.
pub(super) struct Table {
    /// `None` for a view of the session.
    schema: Option<Schema>,
    pub(super) name: String,
    description: String,
    is_view: bool,
}

impl Table {
    /// What it is, in JDBC's words.
    pub(super) const fn kind(&self) -> &'static str {
        if self.is_view { "VIEW" } else { "TABLE" }
    }

    /// The name of its database; empty for a view of the session.
    pub(super) fn schema(&self) -> String {
        self.schema.as_ref().map(Schema::name).unwrap_or_default()
    }

    /// Its row in [`super::shape::TABLES`].
    pub(super) fn row(self, catalog: &str) -> Vec<Cell> {
        let mut row = vec![
            Cell::text(catalog),
            Cell::Text(self.schema()),
            Cell::text(&self.name),
            Cell::text(self.kind()),
            Cell::text(&self.description),
        ];
        row.resize_with(10, || Cell::Null);
        row
    }

    /// Its name in a statement.
    pub(super) fn quoted(&self, catalog: &str) -> String {
        match &self.schema {
            None => quoted(&self.name),
            Some(schema) => format!("{}.{}", place_of(catalog, schema), quoted(&self.name)),
        }
    }
}

/// A database in a statement.
fn place_of(catalog: &str, schema: &Schema) -> String {
    if *schema == Schema::plain(GLOBAL_TEMP) {
        return GLOBAL_TEMP.to_owned();
    }
    format!("{}.{}", quoted(catalog), schema.quoted())
}

/// Types that a client asks for, in Hive's words too.
pub(super) fn is_wanted(kind: &str, types: Option<&[String]>) -> bool {
    let same = |wanted: &String| match wanted.to_ascii_uppercase().as_str() {
        "MANAGED_TABLE" | "EXTERNAL_TABLE" => kind == "TABLE",
        "VIRTUAL_VIEW" | "MATERIALIZED_VIEW" => kind == "VIEW",
        other => other == kind || other == "%",
    };
    types.is_none_or(|types| types.is_empty() || types.iter().any(same))
}

/// The tables and views of a catalog's databases, and the views of the session.
pub(super) async fn tables(session: &Session, wanted: &Wanted) -> Result<Vec<Table>, Failure> {
    let mut found: Vec<Table> = Vec::new();
    let mut own: BTreeSet<String> = BTreeSet::new();
    let mut listings = Listings::of(session);
    for schema in schemas(session, &wanted.catalog, &wanted.schema).await? {
        let place = place_of(&wanted.catalog, &schema);
        let batches = listings.ask(Ask::Tables(&place)).await?;
        for batch in &batches {
            let listed = tables_of(batch, &schema).into_iter();
            let matching = listed.filter(|table| wanted.name.is_match(&table.name));
            // A listing of any database has the session's views too.
            found.extend(matching.filter(|table| table.schema.is_some() || own.insert(table.name.clone())));
        }
        room(found.len())?;
    }
    listings.end(found)
}

/// What a listing of a database has.
fn tables_of(batch: &RecordBatch, schema: &Schema) -> Vec<Table> {
    let (names, descriptions, kinds) = (texts(batch, 0), texts(batch, 3), texts(batch, 4));
    let (spaces, temporary) = (first_parts(batch, 2), flags(batch, 5));
    let named = names.into_iter().enumerate();
    let named = named.filter_map(|(row, name)| Some((row, name?)));
    named
        .map(|(row, name)| {
            let is_temporary = temporary.get(row).copied().unwrap_or(false);
            let is_own = is_temporary && spaces.get(row).cloned().flatten().is_none();
            let kind = kinds.get(row).cloned().flatten().unwrap_or_default();
            Table {
                schema: (!is_own).then(|| schema.clone()),
                name,
                description: descriptions.get(row).cloned().flatten().unwrap_or_default(),
                is_view: is_temporary || matches!(kind.as_str(), "VIEW" | "TEMPORARY" | "MATERIALIZED_VIEW"),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_of_tables_are_asked_for_in_hives_words_too() {
        // hs2#46
        let types = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert!(is_wanted("TABLE", None) && is_wanted("VIEW", Some(&[])));
        assert!(is_wanted("TABLE", Some(&types(&["table"]))));
        assert!(is_wanted("TABLE", Some(&types(&["MANAGED_TABLE"]))));
        assert!(!is_wanted("TABLE", Some(&types(&["VIEW", "VIRTUAL_VIEW"]))));
    }
}
