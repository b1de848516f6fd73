//! Databases, and namespaces within others, which some catalogs have.

use super::pattern::Pattern;
use crate::dialects::sql::failure::Failure;
use crate::dialects::sql::opening::quoted;

/// Namespaces that are looked into for one question: each costs a call of the driver, most have nothing within.
const MAX_LOOKUPS: usize = 200;
/// So many that have nothing within, and none that has: then the catalog is taken for one without any. Most are.
const MAX_EMPTY: usize = 20;
/// How deep is looked.
const MAX_DEPTH: usize = 8;
/// Namespaces that one question finds.
const MAX_FOUND: usize = 100_000;

/// A database, or a namespace by the names on the way to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Schema(Vec<String>);

impl Schema {
    /// One of this name alone.
    pub(super) fn plain(name: &str) -> Self {
        Self(vec![name.to_owned()])
    }

    /// As Spark shows it: names with dots between them, in backquotes where they need them.
    pub(super) fn read(shown: &str) -> Self {
        let (mut parts, mut part, mut is_quoted) = (Vec::new(), String::new(), false);
        let mut chars = shown.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                // A backquote within backquotes is written twice.
                '`' if is_quoted && chars.next_if_eq(&'`').is_some() => part.push('`'),
                '`' => is_quoted = !is_quoted,
                '.' if !is_quoted => parts.push(std::mem::take(&mut part)),
                other => part.push(other),
            }
        }
        parts.push(part);
        Self(parts)
    }

    /// Its name for a client.
    pub(super) fn name(&self) -> String {
        self.0.join(".")
    }

    /// Its name in a statement, within its catalog.
    pub(super) fn quoted(&self) -> String {
        let parts: Vec<String> = self.0.iter().map(|part| quoted(part)).collect();
        parts.join(".")
    }

    fn is_within(&self, outer: &Self) -> bool {
        self.0.len() > outer.0.len() && self.0.starts_with(&outer.0)
    }
}

/// These and what is within them, where `pattern` could match it; `list` tells what is directly within one.
///
/// # Errors
/// The driver cannot be asked just now. What it refuses to list has nothing within.
pub(super) async fn with_nested<L, F>(
    mut found: Vec<Schema>,
    pattern: &Pattern,
    list: L,
) -> Result<Vec<Schema>, Failure>
where
    L: Fn(String) -> F,
    F: Future<Output = Result<Vec<Schema>, Failure>>,
{
    let (mut next, mut lookups) = (0, 0);
    let outermost = found.len();
    while let Some(outer) = found.get(next).cloned() {
        next += 1;
        if outer.0.len() >= MAX_DEPTH || !pattern.may_match_within(&outer.name()) {
            continue;
        }
        if lookups == MAX_EMPTY && found.len() == outermost {
            break;
        }
        if lookups == MAX_LOOKUPS || found.len() > MAX_FOUND {
            tracing::info!(found = found.len(), "not every namespace is looked into");
            break;
        }
        lookups += 1;
        match list(outer.quoted()).await {
            // A catalog that does not know what is meant may answer with what it has.
            Ok(within) => found.extend(within.into_iter().filter(|inner| inner.is_within(&outer))),
            Err(failure) if failure.is_passing => return Err(failure),
            Err(failure) => tracing::debug!(error = %failure, "a namespace cannot be looked into"),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn names_are_read_as_spark_shows_them() {
        let cases: [(&str, &[&str], &str); 5] = [
            ("a", &["a"], "`a`"),
            ("a.b", &["a", "b"], "`a`.`b`"),
            ("`a-b`.c", &["a-b", "c"], "`a-b`.`c`"),
            ("`a.b`", &["a.b"], "`a.b`"),
            ("`a``b`", &["a`b"], "`a``b`"),
        ];
        for (shown, parts, in_statement) in cases {
            let schema = Schema::read(shown);
            assert_eq!(schema.0, parts, "{shown}");
            assert_eq!(schema.quoted(), in_statement, "{shown}");
        }
    }

    /// The names that are found below `a` and `b`, where only `a` has something within, and how often was asked.
    async fn below(pattern: &str, inner: impl Fn(&str) -> Vec<&'static str>) -> (Vec<String>, usize) {
        let asked = Cell::new(0);
        let list = |outer: String| {
            asked.set(asked.get() + 1);
            std::future::ready(Ok(inner(&outer).into_iter().map(Schema::read).collect()))
        };
        let top = vec![Schema::plain("a"), Schema::plain("b")];
        let found = with_nested(top, &Pattern::new(Some(pattern)), list)
            .await
            .unwrap();
        (found.iter().map(Schema::name).collect(), asked.get())
    }

    fn tree(outer: &str) -> Vec<&'static str> {
        match outer {
            "`a`" => vec!["a.x", "a.y"],
            "`a`.`x`" => vec!["a.x.deep"],
            "`c`" => vec!["never"],
            _ => Vec::new(),
        }
    }

    #[tokio::test]
    async fn what_is_within_is_found_where_it_can_match() {
        // hs2#46
        let all = ["a", "b", "a.x", "a.y", "a.x.deep"].map(str::to_owned).to_vec();
        assert_eq!(below("%", tree).await, (all, 5));
        let of_a = ["a", "b", "a.x", "a.y"].map(str::to_owned).to_vec();
        assert_eq!(below("a.y", tree).await, (of_a, 1));
        assert_eq!(below("b", tree).await.1, 0, "nothing within can have this name");
    }

    #[tokio::test]
    async fn i8_a_flat_catalog_is_not_asked_for_each_of_its_namespaces() {
        let asked = Cell::new(0);
        let list = |_| {
            asked.set(asked.get() + 1);
            std::future::ready(Ok(Vec::new()))
        };
        let flat: Vec<_> = (0..300).map(|n| Schema::plain(&format!("n{n}"))).collect();
        let found = with_nested(flat.clone(), &Pattern::new(None), list).await;
        assert_eq!((found.unwrap(), asked.get()), (flat, MAX_EMPTY));
    }

    #[tokio::test]
    async fn i8_a_catalog_that_always_has_more_comes_to_an_end() {
        let same = |_: &str| vec!["a", "b"];
        assert_eq!(below("%", same).await.0.len(), 2);
        let asked = Cell::new(0);
        let list = |outer: String| {
            asked.set(asked.get() + 1);
            let inner = |name: &str| Schema::read(&format!("{outer}.{name}"));
            std::future::ready(Ok(vec![inner("x"), inner("y")]))
        };
        let found = with_nested(vec![Schema::plain("a")], &Pattern::new(None), list)
            .await
            .unwrap();
        assert_eq!(asked.get(), (1 << (MAX_DEPTH - 1)) - 1);
        assert!(found.iter().all(|schema| schema.0.len() <= MAX_DEPTH));
    }
}
