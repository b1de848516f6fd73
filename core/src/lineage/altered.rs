//! The request that makes a temporary view anew as an `ALTER VIEW` left it.

use crate::sql;
use crate::wire;

/// Where an `ExecutePlanRequest` has the text of a statement, from the plan (3) on: in a SQL command (2, 5) of clients
/// from 4.0 in its relation (6), which is SQL (10) or the root of `WithRelations` (41); in one of older clients as it
/// is; in a root relation (1).
const TEXTS: [&[u32]; 5] = [
    &[3, 2, 5, 6, 10, 1],
    &[3, 2, 5, 6, 41, 1, 10, 1],
    &[3, 2, 5, 1],
    &[3, 1, 10, 1],
    &[3, 1, 41, 1, 10, 1],
];

/// The request with [`sql::recreate`] of its statement in place of it; `None` if there is none, or it alters no view.
/// It reaches temporary views alone, so that nothing permanent is altered twice (I3).
#[must_use]
pub fn recreating(request: &[u8]) -> Option<Vec<u8>> {
    let at = |path: &&'static [u32]| text(request, path).map(|text| (*path, text));
    let (path, text) = TEXTS.iter().find_map(at)?;
    // By protobuf's rule, what is given again of a message goes over what it had, field by field.
    let mut changed = sql::recreate(text)?.into_bytes();
    for number in path.iter().rev() {
        let inner = std::mem::take(&mut changed);
        wire::append_bytes(&mut changed, *number, &inner);
    }
    Some([request, &changed].concat())
}

fn text<'a>(request: &'a [u8], path: &[u32]) -> Option<&'a str> {
    let mut part = request;
    for number in path {
        part = wire::last_bytes(part, *number).ok()??;
    }
    std::str::from_utf8(part).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(path: &[u32], text: &str) -> Vec<u8> {
        path.iter().rev().fold(text.as_bytes().to_vec(), |inner, number| {
            let mut message = Vec::new();
            wire::append_bytes(&mut message, *number, &inner);
            message
        })
    }

    #[test]
    fn i3_the_statement_is_replaced_wherever_clients_put_it() {
        let alter = "alter view v as select 1";
        for path in TEXTS {
            let before = request(path, alter);
            let after = recreating(&before).unwrap();
            assert!(
                after.starts_with(&before),
                "what else it says, such as its arguments, stays"
            );
            assert_eq!(text(&after, path), sql::recreate(alter).as_deref(), "{path:?}");
            assert_eq!(recreating(&request(path, "drop view v")), None, "{path:?}");
        }
        assert_eq!(recreating(&request(&[3, 1, 200, 15, 1], alter)), None);
        assert_eq!(recreating(b"\xff"), None);
    }
}
