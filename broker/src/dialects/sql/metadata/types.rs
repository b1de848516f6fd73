//! Spark's types as JDBC describes them.

use super::shape::Cell;

/// How deep types are read that contain types.
const MAX_DEPTH: usize = 64;

/// A type of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Described {
    /// As Spark's SQL writes it.
    pub(super) name: String,
    /// Its number in `java.sql.Types`.
    pub(super) jdbc: i32,
    /// Digits of a decimal, characters of text, else bytes where these are known.
    pub(super) size: Option<i32>,
    /// Digits behind the point.
    pub(super) digits: Option<i32>,
    /// 10 for numbers.
    pub(super) radix: Option<i32>,
}

impl Described {
    /// Reads a type as Spark's catalog shows it: `decimal(10,2)`, `struct<a:int,b:array<string>>`.
    pub(super) fn read(text: &str) -> Self {
        Self::at_depth(text.trim(), 0)
    }

    fn at_depth(text: &str, depth: usize) -> Self {
        if let Some(inner) = inside(text, "array<").filter(|_| depth < MAX_DEPTH) {
            return Self::nested(
                format!("ARRAY<{}>", Self::at_depth(inner, depth + 1).name),
                2003,
                None,
            );
        }
        if let Some(inner) = inside(text, "map<").filter(|_| depth < MAX_DEPTH) {
            let parts: Vec<_> = split(inner)
                .map(|part| Self::at_depth(part, depth + 1).name)
                .collect();
            return Self::nested(format!("MAP<{}>", parts.join(", ")), 2000, None);
        }
        if let Some(inner) = inside(text, "struct<").filter(|_| depth < MAX_DEPTH) {
            return Self::of_struct(inner, depth);
        }
        Self::plain(text)
    }

    fn of_struct(inner: &str, depth: usize) -> Self {
        let mut size = Some(0i32);
        let mut names = Vec::new();
        for (name, kind) in split(inner).filter_map(|field| field.split_once(':')) {
            let field = Self::at_depth(kind, depth + 1);
            size = size.zip(field.size).map(|(all, one)| all.saturating_add(one));
            names.push(format!("{name}: {}", field.name));
        }
        Self::nested(format!("STRUCT<{}>", names.join(", ")), 2002, size)
    }

    fn nested(name: String, jdbc: i32, size: Option<i32>) -> Self {
        Self {
            name,
            jdbc,
            size,
            digits: None,
            radix: None,
        }
    }

    fn plain(text: &str) -> Self {
        let lower = text.to_ascii_lowercase();
        let (base, arguments) = lower.split_once('(').unwrap_or((&lower, ""));
        let mut arguments = arguments
            .trim_end_matches(')')
            .split(',')
            .map(|number| number.trim().parse().ok());
        let mut argument = || arguments.next().flatten();
        let (jdbc, size, digits) = match base {
            "void" => (0, Some(1), None),
            "boolean" => (16, Some(1), Some(0)),
            "tinyint" => (-6, Some(1), Some(0)),
            "smallint" => (5, Some(2), Some(0)),
            "int" => (4, Some(4), Some(0)),
            "bigint" => (-5, Some(8), Some(0)),
            "float" => (6, Some(4), Some(7)),
            "double" => (8, Some(8), Some(15)),
            "decimal" => (3, argument(), argument()),
            "string" => (12, None, None),
            "char" | "varchar" => (12, argument(), None),
            "binary" => (-2, None, None),
            "date" => (91, Some(4), None),
            "timestamp" | "timestamp_ntz" => (93, Some(8), Some(6)),
            base if base.starts_with("interval year") || base.starts_with("interval month") => {
                (1111, Some(4), None)
            }
            base if base.starts_with("interval ") => (1111, Some(8), None),
            // A string with a collation.
            base if base.starts_with("string ") => (12, None, None),
            _ => (1111, None, None),
        };
        let is_number = matches!(jdbc, 3..=8 | -6 | -5);
        Self {
            name: text.to_uppercase(),
            jdbc,
            size,
            digits,
            radix: is_number.then_some(10),
        }
    }
}

/// What is between `head` and the bracket that ends the type.
fn inside<'a>(text: &'a str, head: &str) -> Option<&'a str> {
    let start = text.get(..head.len())?;
    let rest = start.eq_ignore_ascii_case(head).then(|| &text[head.len()..])?;
    rest.strip_suffix('>')
}

/// The parts between commas that are in no bracket.
fn split(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0i32;
    text.split(move |c| {
        match c {
            '<' | '(' => depth += 1,
            '>' | ')' => depth -= 1,
            _ => {}
        }
        c == ',' && depth == 0
    })
    .map(str::trim)
}

/// The rows about types themselves.
pub(super) fn info() -> Vec<Vec<Cell>> {
    // (name, number of JDBC, precision)
    let types = [
        ("VOID", 0, None),
        ("BOOLEAN", 16, None),
        ("TINYINT", -6, Some(3)),
        ("SMALLINT", 5, Some(5)),
        ("INTEGER", 4, Some(10)),
        ("BIGINT", -5, Some(19)),
        ("FLOAT", 6, Some(7)),
        ("DOUBLE", 8, Some(15)),
        ("STRING", 12, None),
        ("BINARY", -2, None),
        ("DECIMAL", 3, Some(38)),
        ("DATE", 91, None),
        ("TIMESTAMP", 93, None),
        ("ARRAY", 2003, None),
        ("MAP", 2000, None),
        ("STRUCT", 2002, None),
        ("INTERVAL", 1111, None),
    ];
    let row = |(name, jdbc, precision): (&str, i32, Option<i32>)| {
        let is_number = matches!(jdbc, 3..=8 | -6 | -5);
        vec![
            Cell::text(name),
            Cell::Int(jdbc),
            Cell::number(precision),
            Cell::Null,
            Cell::Null,
            Cell::Null,
            Cell::Int(1),
            Cell::Flag(name == "STRING"),
            Cell::Int(if jdbc < 1111 { 3 } else { 0 }),
            Cell::Flag(!is_number),
            Cell::Flag(false),
            Cell::Flag(false),
            Cell::Null,
            Cell::Int(0),
            Cell::Int(0),
            Cell::Null,
            Cell::Null,
            Cell::number(is_number.then_some(10)),
        ]
    };
    types.map(row).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_described_as_jdbc_wants_them() {
        // hs2#47
        let cases = [
            ("int", "INT", 4, Some(4), Some(0), Some(10)),
            ("tinyint", "TINYINT", -6, Some(1), Some(0), Some(10)),
            ("boolean", "BOOLEAN", 16, Some(1), Some(0), None),
            ("decimal(10,2)", "DECIMAL(10,2)", 3, Some(10), Some(2), Some(10)),
            ("float", "FLOAT", 6, Some(4), Some(7), Some(10)),
            ("string", "STRING", 12, None, None, None),
            ("varchar(20)", "VARCHAR(20)", 12, Some(20), None, None),
            ("timestamp_ntz", "TIMESTAMP_NTZ", 93, Some(8), Some(6), None),
            ("array<int>", "ARRAY<INT>", 2003, None, None, None),
            (
                "map<string,decimal(5,1)>",
                "MAP<STRING, DECIMAL(5,1)>",
                2000,
                None,
                None,
                None,
            ),
            (
                "struct<aB:int,c:date>",
                "STRUCT<aB: INT, c: DATE>",
                2002,
                Some(8),
                None,
                None,
            ),
            (
                "struct<a:array<string>>",
                "STRUCT<a: ARRAY<STRING>>",
                2002,
                None,
                None,
                None,
            ),
            (
                "interval day to second",
                "INTERVAL DAY TO SECOND",
                1111,
                Some(8),
                None,
                None,
            ),
        ];
        for (text, name, jdbc, size, digits, radix) in cases {
            let expected = Described {
                name: name.to_owned(),
                jdbc,
                size,
                digits,
                radix,
            };
            assert_eq!(Described::read(text), expected, "{text}");
        }
    }

    #[test]
    fn a_type_without_bottom_ends() {
        let deep = format!("{}int{}", "array<".repeat(10_000), ">".repeat(10_000));
        assert!(Described::read(&deep).name.len() > 10_000);
    }
}
