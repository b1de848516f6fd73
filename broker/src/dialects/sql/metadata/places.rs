//! Catalogs and their databases.

use std::collections::BTreeSet;

use super::pattern::Pattern;
use super::read::{texts, unquoted};
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

/// The databases of a catalog.
pub(super) async fn schemas(
    session: &Session,
    catalog: &str,
    pattern: &Pattern,
) -> Result<Vec<String>, Failure> {
    let statement = format!("SHOW NAMESPACES IN {}", quoted(catalog));
    let batches = session.whole(&plan::sql(&statement)).await?;
    let names = batches.iter().flat_map(|batch| texts(batch, 0)).flatten();
    let mut found: Vec<String> = names.map(|name| unquoted(&name)).collect();
    if catalog == SPARK_CATALOG {
        found.push(GLOBAL_TEMP.to_owned());
    }
    found.retain(|name| pattern.is_match(name));
    Ok(found)
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
