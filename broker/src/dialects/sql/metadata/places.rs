//! Catalogs and their databases.

use std::collections::BTreeSet;

use super::nested::{Schema, with_nested};
use super::pattern::Pattern;
use super::read::texts;
use super::shape::Cell;
use super::{GLOBAL_TEMP, Rows, SPARK_CATALOG};
use crate::dialects::sql::failure::Failure;
use crate::dialects::sql::opening::quoted;
use crate::dialects::sql::plan::{self, Ask};
use crate::dialects::sql::session::Session;

/// The catalogs that are loaded, and those that would be at their first use.
pub(super) async fn catalogs(session: &Session) -> Result<Rows, Failure> {
    let loaded = session.whole(&plan::catalog(&Ask::Catalogs)).await?;
    let confs = session.whole(&plan::sql("SET")).await?;
    let keys = confs.iter().flat_map(|batch| texts(batch, 0)).flatten();
    let described = keys.filter_map(|key| described_catalog(&key).map(str::to_owned));
    let loaded = loaded.iter().flat_map(|batch| texts(batch, 0)).flatten();
    let mut names: BTreeSet<String> = loaded.chain(described).collect();
    names.insert(SPARK_CATALOG.to_owned());
    Ok(names.into_iter().map(|name| vec![Cell::Text(name)]).collect())
}

/// The catalog whose class this conf names; its options have longer keys.
fn described_catalog(key: &str) -> Option<&str> {
    let name = key.strip_prefix("spark.sql.catalog.")?;
    (!name.is_empty() && !name.contains('.')).then_some(name)
}

/// The catalog that is asked about: where none is named, the session's own.
pub(super) async fn catalog_of(session: &Session, named: Option<String>) -> Result<String, Failure> {
    if let Some(named) = named.filter(|named| !matches!(named.as_str(), "" | "%" | "*")) {
        return Ok(named);
    }
    let batches = session.whole(&plan::sql("SELECT current_catalog()")).await?;
    let mut names = batches.iter().flat_map(|batch| texts(batch, 0)).flatten();
    Ok(names.next().unwrap_or_else(|| SPARK_CATALOG.to_owned()))
}

/// The databases of a catalog, and the namespaces within them where it can have some.
pub(super) async fn schemas(
    session: &Session,
    catalog: &str,
    pattern: &Pattern,
) -> Result<Vec<Schema>, Failure> {
    let catalog_name = quoted(catalog);
    let mut found = namespaces(session, &catalog_name).await?;
    if catalog == SPARK_CATALOG {
        // Nothing is within its databases.
        found.push(Schema::plain(GLOBAL_TEMP));
    } else {
        let within = |outer: String| {
            let place = format!("{catalog_name}.{outer}");
            async move { namespaces(session, &place).await }
        };
        found = with_nested(found, pattern, within).await?;
    }
    found.retain(|schema| pattern.is_match(&schema.name()));
    Ok(found)
}

/// What is directly within a place.
async fn namespaces(session: &Session, place: &str) -> Result<Vec<Schema>, Failure> {
    let statement = format!("SHOW NAMESPACES IN {place}");
    let batches = session.whole(&plan::sql(&statement)).await?;
    let names = batches.iter().flat_map(|batch| texts(batch, 0)).flatten();
    Ok(names.map(|name| Schema::read(&name)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn catalogs_are_known_by_their_confs() {
        // hs2#49
        let cases = [
            ("spark.sql.catalog.second", Some("second")),
            ("spark.sql.catalog.second.url", None),
            ("spark.sql.catalog.", None),
            ("spark.sql.catalogImplementation", None),
        ];
        for (key, name) in cases {
            assert_eq!(described_catalog(key), name, "{key}");
        }
    }
}
