//! Questions about the catalog, answered in the shape of JDBC's metadata.

mod columns;
mod functions;
mod listing;
mod nested;
mod pattern;
mod places;
mod read;
mod shape;
mod tables;
mod types;

use arrow_array::RecordBatch;

use super::failure::Failure;
use super::operation::Kind;
use super::session::Session;
use columns::columns;
use functions::functions;
use pattern::Pattern;
use places::{catalog_of, catalogs, schemas};
use shape::{Cell, Shape};
use tables::{is_wanted, tables};

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
pub(super) async fn answer(session: &Session, question: Question) -> Result<RecordBatch, Failure> {
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
            rows.map(|schema| vec![Cell::Text(schema.name()), Cell::text(&catalog)])
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

fn room(rows: usize) -> Result<(), Failure> {
    if rows > MAX_ROWS {
        return Err(Failure::new(
            "54000",
            format!("the answer has more than {MAX_ROWS} rows; narrow the patterns"),
        ));
    }
    Ok(())
}
