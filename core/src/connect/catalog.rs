//! Catalog operations. Spark executes them while it plans, in `ExecutePlan` and in `AnalyzePlan` alike.

use crate::lineage::Class;
use crate::wire::{self, Value, WireError};

use super::Classified;

/// Classifies a serialized `Catalog`.
pub(super) fn classify(catalog: &[u8]) -> Result<Classified, WireError> {
    let mut classified = Classified::new(Class::Read, "catalog");
    for field in wire::fields(catalog) {
        let field = field?;
        let Value::Bytes(body) = field.value else { continue };
        classified = operation(field.number, &wire::last_text(body, 1)?.unwrap_or_default());
    }
    Ok(classified)
}

fn operation(number: u32, name: &str) -> Classified {
    let state = |what: &str| Classified::new(Class::State, format!("{what} {name}"));
    let write = |what: &str| Classified::new(Class::Write, format!("{what} {name}"));
    match number {
        1 | 3..=12 | 18 | 24 | 26 | 31..=34 => Classified::new(Class::Read, "catalog query"),
        2 => state("setCurrentDatabase"),
        25 => state("setCurrentCatalog"),
        15 => state("dropTempView").keyed("view", &name.to_lowercase()),
        16 => state("dropGlobalTempView").keyed("gview", &name.to_lowercase()),
        19 => state("cacheTable"),
        20 => state("uncacheTable"),
        21 => state("clearCache"),
        22 => state("refreshTable"),
        23 => state("refreshByPath"),
        13 | 14 => write("createTable"),
        17 => write("recoverPartitions"),
        27 => write("dropTable"),
        28 => write("dropView"),
        29 => write("createDatabase"),
        30 => write("dropDatabase"),
        35 => write("truncateTable"),
        36 => write("analyzeTable"),
        _ => write("unknown catalog operation"),
    }
}
