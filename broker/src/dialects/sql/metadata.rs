//! Questions about the catalog, answered in the shape of JDBC's metadata.

mod pattern;
mod shape;
mod types;

use std::collections::BTreeSet;

use arrow_array::cast::AsArray as _;
use arrow_array::{Array as _, RecordBatch};
use arrow_schema::SchemaRef;

use super::failure::Failure;
use super::opening::quoted;
use super::operation::Kind;
use super::plan::{self, Ask};
use super::session::Session;
use pattern::Pattern;
use shape::{Cell, Shape};

/// The catalog that Spark always has.
const SPARK_CATALOG: &str = "spark_catalog";
/// The database of its views that belong to no session.
const GLOBAL_TEMP: &str = "global_temp";
/// Rows of one answer; a crawl of more is to be narrowed.
const MAX_ROWS: usize = 1_000_000;

/// A question. Names are patterns, except a catalog's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Question {
    TypeInfo,
    Catalogs,
    TableTypes,
    Schemas {
        catalog: Option<String>,
        schema: Option<String>,
    },
    Tables {
        catalog: Option<String>,
        schema: Option<String>,
        table: Option<String>,
        types: Option<Vec<String>>,
    },
    Columns {
        catalog: Option<String>,
        schema: Option<String>,
        table: Option<String>,
        column: Option<String>,
    },
    Functions {
        catalog: Option<String>,
        schema: Option<String>,
        function: Option<String>,
    },
    PrimaryKeys,
    CrossReference,
}

impl Question {
    /// What kind of operation answers it.
    pub(crate) const fn kind(&self) -> Kind {
        match self {
            Self::TypeInfo => Kind::TypeInfo,
            Self::Catalogs => Kind::Catalogs,
            Self::TableTypes => Kind::TableTypes,
            Self::Schemas { .. } => Kind::Schemas,
            Self::Tables { .. } => Kind::Tables,
            Self::Columns { .. } => Kind::Columns,
            Self::Functions { .. } => Kind::Functions,
            Self::PrimaryKeys => Kind::PrimaryKeys,
            Self::CrossReference => Kind::CrossReference,
        }
    }

    const fn shape(&self) -> Shape {
        match self {
            Self::TypeInfo => shape::TYPE_INFO,
            Self::Catalogs => shape::CATALOGS,
            Self::TableTypes => shape::TABLE_TYPES,
            Self::Schemas { .. } => shape::SCHEMAS,
            Self::Tables { .. } => shape::TABLES,
            Self::Columns { .. } => shape::COLUMNS,
            Self::Functions { .. } => shape::FUNCTIONS,
            // Spark has no keys that mean anything: tools that ask for them find none.
            Self::PrimaryKeys => shape::PRIMARY_KEYS,
            Self::CrossReference => shape::CROSS_REFERENCE,
        }
    }
}

type Rows = Vec<Vec<Cell>>;

/// The answer to a question.
///
/// # Errors
/// What Spark says of it.
pub(super) async fn answer(
    session: &Session,
    question: Question,
) -> Result<(SchemaRef, RecordBatch), Failure> {
    let shape = question.shape();
    let rows = match question {
        Question::TypeInfo => types::info(),
        Question::TableTypes => vec![vec![Cell::text("TABLE")], vec![Cell::text("VIEW")]],
        Question::PrimaryKeys | Question::CrossReference => Vec::new(),
        Question::Catalogs => catalogs(session).await?,
        Question::Schemas { catalog, schema } => {
            let catalog = catalog_of(session, catalog).await?;
            let found = schemas(session, &catalog, &Pattern::new(schema.as_deref())).await?;
            let rows = found.into_iter();
            rows.map(|schema| vec![Cell::Text(schema), Cell::text(&catalog)])
                .collect()
        }
        Question::Tables {
            catalog,
            schema,
            table,
            types,
        } => {
            let wanted = Wanted::new(session, catalog, schema, table).await?;
            let found = tables(session, &wanted).await?;
            let shown = found
                .into_iter()
                .filter(|table| is_wanted(table.kind(), types.as_deref()));
            shown.map(|table| table.row(&wanted.catalog)).collect()
        }
        Question::Columns {
            catalog,
            schema,
            table,
            column,
        } => {
            let wanted = Wanted::new(session, catalog, schema, table).await?;
            columns(session, &wanted, &Pattern::new(column.as_deref())).await?
        }
        Question::Functions {
            catalog,
            schema,
            function,
        } => {
            let wanted = Wanted::new(session, catalog, schema, function).await?;
            functions(session, &wanted).await?
        }
    };
    shape.table(&rows)
}

/// Where is looked for what.
struct Wanted {
    catalog: String,
    schema: Pattern,
    name: Pattern,
}

impl Wanted {
    async fn new(
        session: &Session,
        catalog: Option<String>,
        schema: Option<String>,
        name: Option<String>,
    ) -> Result<Self, Failure> {
        Ok(Self {
            catalog: catalog_of(session, catalog).await?,
            schema: Pattern::new(schema.as_deref()),
            name: Pattern::new(name.as_deref()),
        })
    }
}

/// A table or view.
struct Table {
    /// `None` for a view of the session.
    schema: Option<String>,
    name: String,
    description: String,
    is_view: bool,
}

impl Table {
    const fn kind(&self) -> &'static str {
        if self.is_view { "VIEW" } else { "TABLE" }
    }

    fn schema_cell(&self) -> Cell {
        Cell::text(self.schema.as_deref().unwrap_or_default())
    }

    fn row(self, catalog: &str) -> Vec<Cell> {
        let mut row = vec![
            Cell::text(catalog),
            self.schema_cell(),
            Cell::text(&self.name),
            Cell::text(self.kind()),
            Cell::text(&self.description),
        ];
        row.resize_with(10, || Cell::Null);
        row
    }

    /// Its name in a statement.
    fn quoted(&self, catalog: &str) -> String {
        match self.schema.as_deref() {
            None => quoted(&self.name),
            Some(GLOBAL_TEMP) => format!("{GLOBAL_TEMP}.{}", quoted(&self.name)),
            Some(schema) => format!("{}.{}.{}", quoted(catalog), quoted(schema), quoted(&self.name)),
        }
    }
}

/// Types that a client asks for, in Hive's words too.
fn is_wanted(kind: &str, types: Option<&[String]>) -> bool {
    let same = |wanted: &String| match wanted.to_ascii_uppercase().as_str() {
        "MANAGED_TABLE" | "EXTERNAL_TABLE" => kind == "TABLE",
        "VIRTUAL_VIEW" | "MATERIALIZED_VIEW" => kind == "VIEW",
        other => other == kind || other == "%",
    };
    types.is_none_or(|types| types.is_empty() || types.iter().any(same))
}

/// The catalogs that are loaded, and those that would be at their first use.
async fn catalogs(session: &Session) -> Result<Rows, Failure> {
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
async fn catalog_of(session: &Session, named: Option<String>) -> Result<String, Failure> {
    if let Some(named) = named.filter(|named| !matches!(named.as_str(), "" | "%" | "*")) {
        return Ok(named);
    }
    let batches = session.whole(&plan::sql("SELECT current_catalog()")).await?;
    let mut names = batches.iter().flat_map(|batch| texts(batch, 0)).flatten();
    Ok(names.next().unwrap_or_else(|| SPARK_CATALOG.to_owned()))
}

async fn schemas(session: &Session, catalog: &str, pattern: &Pattern) -> Result<Vec<String>, Failure> {
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

async fn tables(session: &Session, wanted: &Wanted) -> Result<Vec<Table>, Failure> {
    let mut found: Vec<Table> = Vec::new();
    let mut own: BTreeSet<String> = BTreeSet::new();
    let mut failed = None;
    for schema in schemas(session, &wanted.catalog, &wanted.schema).await? {
        let place = match schema.as_str() {
            GLOBAL_TEMP => GLOBAL_TEMP.to_owned(),
            schema => format!("{}.{}", quoted(&wanted.catalog), quoted(schema)),
        };
        let batches = match session.whole(&plan::catalog(&Ask::Tables(&place))).await {
            Ok(batches) => batches,
            Err(failure) if failure.is_passing => return Err(failure),
            // It is dropped meanwhile, or there are no such views.
            Err(failure) if failure.is_of_what_is_gone() => continue,
            // One database that cannot be read must not hide the others.
            Err(failure) => {
                tracing::debug!(session.id = %session.id, place, error = %failure, "tables cannot be listed");
                failed = Some(failure);
                continue;
            }
        };
        for batch in &batches {
            let listed = tables_of(batch, &schema).into_iter();
            let matching = listed.filter(|table| wanted.name.is_match(&table.name));
            // A listing of any database has the session's views too.
            found.extend(matching.filter(|table| table.schema.is_some() || own.insert(table.name.clone())));
        }
        room(found.len())?;
    }
    match failed {
        Some(failure) if found.is_empty() => Err(failure),
        _ => Ok(found),
    }
}

/// What a listing of a database has.
fn tables_of(batch: &RecordBatch, schema: &str) -> Vec<Table> {
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
                schema: (!is_own).then(|| schema.to_owned()),
                name,
                description: descriptions.get(row).cloned().flatten().unwrap_or_default(),
                is_view: is_temporary || matches!(kind.as_str(), "VIEW" | "TEMPORARY" | "MATERIALIZED_VIEW"),
            }
        })
        .collect()
}

async fn columns(session: &Session, wanted: &Wanted, pattern: &Pattern) -> Result<Rows, Failure> {
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
            let (names, comments, kinds) = (texts(batch, 0), texts(batch, 1), texts(batch, 2));
            let nullable = flags(batch, 3);
            for row in 0..batch.num_rows() {
                position += 1;
                let name = names.get(row).cloned().flatten().unwrap_or_default();
                if !pattern.is_match(&name) {
                    continue;
                }
                let kind = kinds.get(row).cloned().flatten().unwrap_or_default();
                let column = shape::Column {
                    catalog: &wanted.catalog,
                    schema: table.schema.as_deref().unwrap_or_default(),
                    table: &table.name,
                    name: &name,
                    comment: comments.get(row).and_then(Option::as_deref).unwrap_or_default(),
                    nullable: nullable.get(row).copied().unwrap_or(true),
                    position,
                };
                rows.push(column.row(&types::Described::read(&kind)));
            }
        }
        room(rows.len())?;
    }
    Ok(rows)
}

async fn functions(session: &Session, wanted: &Wanted) -> Result<Rows, Failure> {
    let mut rows = Vec::new();
    let mut seen = BTreeSet::new();
    for schema in schemas(session, &wanted.catalog, &wanted.schema).await? {
        if schema == GLOBAL_TEMP {
            continue;
        }
        let place = format!("{}.{}", quoted(&wanted.catalog), quoted(&schema));
        let batches = session.whole(&plan::catalog(&Ask::Functions(&place))).await?;
        for batch in &batches {
            let listed = functions_of(batch).into_iter();
            let matching = listed.filter(|function| wanted.name.is_match(&function.name));
            let new =
                matching.filter(|function| seen.insert((function.schema.clone(), function.name.clone())));
            rows.extend(new.map(Function::row));
        }
        room(rows.len())?;
    }
    Ok(rows)
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

fn room(rows: usize) -> Result<(), Failure> {
    if rows > MAX_ROWS {
        return Err(Failure::new(
            "54000",
            format!("the answer has more than {MAX_ROWS} rows; narrow the patterns"),
        ));
    }
    Ok(())
}

/// A column of texts; empty if it is none.
fn texts(batch: &RecordBatch, column: usize) -> Vec<Option<String>> {
    let column = batch.columns().get(column);
    let texts = column.and_then(|column| column.as_string_opt::<i32>());
    let texts = texts.into_iter().flat_map(|texts| texts.iter());
    texts.map(|text| text.map(str::to_owned)).collect()
}

/// A column of flags; empty if it is none.
fn flags(batch: &RecordBatch, column: usize) -> Vec<bool> {
    let flags = batch
        .columns()
        .get(column)
        .and_then(|column| column.as_boolean_opt());
    let flags = flags.into_iter().flat_map(|flags| flags.iter());
    flags.map(|flag| flag.unwrap_or_default()).collect()
}

/// The names in a column of lists of names, each put together.
fn first_parts(batch: &RecordBatch, column: usize) -> Vec<Option<String>> {
    let lists = batch
        .columns()
        .get(column)
        .and_then(|column| column.as_list_opt::<i32>());
    let lists = lists.into_iter().flat_map(|lists| lists.iter());
    lists
        .map(|list| {
            let list = list.filter(|list| !list.is_empty())?;
            let parts: Vec<&str> = list.as_string_opt::<i32>()?.iter().flatten().collect();
            Some(parts.join("."))
        })
        .collect()
}

/// A name that Spark shows in backquotes where it needs them.
fn unquoted(name: &str) -> String {
    let inner = name.strip_prefix('`').and_then(|name| name.strip_suffix('`'));
    inner.map_or_else(|| name.to_owned(), |inner| inner.replace("``", "`"))
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

    #[test]
    fn names_lose_the_quotes_that_spark_shows() {
        for (shown, name) in [("a", "a"), ("`a-b`", "a-b"), ("`a``b`", "a`b")] {
            assert_eq!(unquoted(shown), name);
        }
    }

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
