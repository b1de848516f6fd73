//! What a tree of relations does: catalog operations that Spark executes while planning, and references to things
//! that only one driver has.

use crate::lineage::Class;
use crate::wire::{self, Value, WireError};

use super::{Found, catalog, of_sql};

/// How deep Spark's own server reads nested messages (`spark.connect.grpc.marshallerRecursionLimit`).
const MAX_DEPTH: usize = 1024;

/// What is done with the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// It is executed: SQL text in it is a statement, which may be a command at the root.
    Execute,
    /// It is analysed: commands in SQL text do not run, catalog operations do.
    Analyze,
}

const SQL: u32 = 10;
const CACHED_LOCAL: u32 = 36;
const CACHED_REMOTE: u32 = 37;
const CHUNKED_CACHED_LOCAL: u32 = 45;
const CATALOG: u32 = 200;
const ML: u32 = 300;
const EXTENSION: u32 = 998;

/// The field numbers under which a relation of this kind holds its inputs.
const fn inputs(kind: u32) -> &'static [u32] {
    match kind {
        5 | 6 | 39 | 41 | 44 | 47 | 48 => &[1, 2],
        31 => &[1, 5],
        32 => &[1, 3],
        3 | 4 | 7..=9 | 12..=14 | 16..=30 | 33..=35 | 42 | 90..=92 | 100..=107 => &[1],
        // What all relations have in common (1), leaves, what is looked at by itself (200, 300), what is of a type
        // that nobody here knows (998), and kinds of later releases: text in them must not be read as a tree.
        _ => &[],
    }
}

/// Walks the tree below a serialized `Relation`.
pub(super) fn walk(root: &[u8], used: Use) -> Result<Found, WireError> {
    let mut found = Found::default();
    let mut open = vec![(root, 0usize)];
    while let Some((relation, depth)) = open.pop() {
        if depth > MAX_DEPTH {
            return Err(WireError::Depth(MAX_DEPTH));
        }
        for field in wire::fields(relation) {
            let field = field?;
            let Value::Bytes(body) = field.value else { continue };
            visit(field.number, body, used, &mut found)?;
            for number in inputs(field.number) {
                open.extend(
                    wire::all_bytes(body, *number)?
                        .into_iter()
                        .map(|input| (input, depth + 1)),
                );
            }
            if field.number == ML {
                visit_ml(body, depth, &mut open, &mut found)?;
            }
        }
    }
    Ok(found)
}

fn visit(kind: u32, body: &[u8], used: Use, found: &mut Found) -> Result<(), WireError> {
    match kind {
        SQL if used == Use::Execute => {
            let text = wire::last_text(body, 1)?.unwrap_or_default();
            let statement = of_sql(&text);
            raise(found, statement.class, statement.what, statement.key);
        }
        CATALOG => {
            let operation = catalog::classify(body)?;
            raise(found, operation.class, operation.what, operation.key);
        }
        CACHED_LOCAL => found.blobs.extend(wire::last_text(body, 3)?),
        CHUNKED_CACHED_LOCAL => {
            for number in [1, 2] {
                let hashes = wire::all_bytes(body, number)?;
                found.blobs.extend(
                    hashes
                        .iter()
                        .map(|hash| String::from_utf8_lossy(hash).into_owned()),
                );
            }
        }
        CACHED_REMOTE => found.handles.extend(wire::last_text(body, 1)?),
        EXTENSION => raise(
            found,
            Class::Write,
            "extension relation".to_owned(),
            String::new(),
        ),
        _ => {}
    }
    Ok(())
}

/// `MlRelation`: a transform (1) of an input (2) by a model (1), or a fetch (2) from one; a summary's data (3).
fn visit_ml<'a>(
    body: &'a [u8],
    depth: usize,
    open: &mut Vec<(&'a [u8], usize)>,
    found: &mut Found,
) -> Result<(), WireError> {
    for number in [1, 2] {
        let Some(part) = wire::last_bytes(body, number)? else {
            continue;
        };
        if let Some(object) = wire::last_bytes(part, 1)? {
            found.handles.extend(wire::last_text(object, 1)?);
        }
        if number == 1 {
            open.extend(wire::last_bytes(part, 3)?.map(|input| (input, depth + 1)));
        }
    }
    open.extend(wire::last_bytes(body, 3)?.map(|input| (input, depth + 1)));
    Ok(())
}

fn raise(found: &mut Found, class: Class, what: String, key: String) {
    if class > found.class {
        found.class = class;
        found.what = what;
        found.key = key;
    }
}
