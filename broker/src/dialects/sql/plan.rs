//! Plans of Spark Connect, as bytes, and what is read of its answers.

use berth_core::wire::{self, Value, WireError};

use super::failure::Failure;

/// `Plan.root`.
const ROOT: u32 = 1;
/// `Relation.sql`, with its text in field 1.
const SQL: u32 = 10;
/// `Relation.catalog`.
const CATALOG: u32 = 200;

/// A plan that runs a statement. Spark runs commands in it at once, as it does for its own client.
pub(crate) fn sql(text: &str) -> Vec<u8> {
    let mut sql = Vec::with_capacity(text.len() + 8);
    wire::append_string(&mut sql, 1, text);
    within(sql, &[SQL, ROOT])
}

/// A question about the catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ask<'a> {
    /// The catalogs that are loaded.
    Catalogs,
    /// The tables and views of a database, by its quoted name.
    Tables(&'a str),
    /// The functions of a database, by its quoted name.
    Functions(&'a str),
    /// The columns of a table, by its quoted name.
    Columns(&'a str),
}

/// A plan that asks the catalog.
pub(crate) fn catalog(ask: &Ask<'_>) -> Vec<u8> {
    let mut body = Vec::new();
    let number = match ask {
        Ask::Catalogs => 26,
        Ask::Tables(database) => {
            wire::append_string(&mut body, 1, database);
            4
        }
        Ask::Functions(database) => {
            wire::append_string(&mut body, 1, database);
            5
        }
        Ask::Columns(table) => {
            wire::append_string(&mut body, 1, table);
            6
        }
    };
    within(body, &[number, CATALOG, ROOT])
}

fn within(mut message: Vec<u8>, numbers: &[u32]) -> Vec<u8> {
    for number in numbers {
        let mut outer = Vec::with_capacity(message.len() + 8);
        wire::append_bytes(&mut outer, *number, &message);
        message = outer;
    }
    message
}

/// How far a query is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Stages that are over.
    pub(crate) done_stages: u64,
    /// Stages that there are so far.
    pub(crate) stages: u64,
    /// Tasks that are over.
    pub(crate) done_tasks: u64,
    /// Tasks of the stages that there are so far.
    pub(crate) tasks: u64,
    /// Tasks that run.
    pub(crate) running_tasks: u64,
}

/// What an answer brings.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Part<'a> {
    /// Rows.
    Rows {
        /// How many.
        count: u64,
        /// An Arrow stream of their own.
        stream: &'a [u8],
    },
    /// How far it is.
    Progress(Progress),
    /// Nothing that a client of SQL sees.
    Other,
}

/// Reads an `ExecutePlanResponse`.
///
/// # Errors
/// It is none.
pub(crate) fn part(response: &[u8]) -> Result<Part<'_>, Failure> {
    read(response).map_err(|error| Failure::invalid(format!("the driver's answer cannot be read: {error}")))
}

fn read(response: &[u8]) -> Result<Part<'_>, WireError> {
    if let Some(batch) = wire::last_bytes(response, 2)? {
        let count = wire::last_varint(batch, 1)?.unwrap_or_default();
        let stream = wire::last_bytes(batch, 2)?.unwrap_or_default();
        return Ok(Part::Rows { count, stream });
    }
    match wire::last_bytes(response, 18)? {
        Some(body) => Ok(Part::Progress(progress(body)?)),
        None => Ok(Part::Other),
    }
}

fn progress(body: &[u8]) -> Result<Progress, WireError> {
    let mut progress = Progress {
        running_tasks: wire::last_varint(body, 2)?.unwrap_or_default(),
        ..Progress::default()
    };
    for stage in wire::all_bytes(body, 1)? {
        progress.stages += 1;
        for field in wire::fields(stage) {
            let field = field?;
            let Value::Varint(value) = field.value else {
                continue;
            };
            match field.number {
                2 => progress.tasks += value,
                3 => progress.done_tasks += value,
                5 => progress.done_stages += value,
                _ => {}
            }
        }
    }
    Ok(progress)
}

#[cfg(test)]
mod tests {
    use berth_core::connect::classify_execute;
    use berth_core::lineage::Class;

    use super::*;

    #[test]
    fn plans_have_the_class_of_their_statement() {
        let class = |plan: Vec<u8>| {
            let mut request = Vec::new();
            wire::append_bytes(&mut request, 3, &plan);
            classify_execute(&request).unwrap().class
        };
        assert_eq!(class(sql("select 1")), Class::Read);
        assert_eq!(class(sql("USE d")), Class::State);
        assert_eq!(class(sql("insert into t values (1)")), Class::Write);
        for ask in [
            Ask::Catalogs,
            Ask::Tables("`a`"),
            Ask::Functions("`a`"),
            Ask::Columns("`a`.`b`"),
        ] {
            assert_eq!(class(catalog(&ask)), Class::Read, "{ask:?}");
        }
    }

    #[test]
    fn answers_are_rows_or_progress() {
        let mut batch = Vec::new();
        wire::append_varint(&mut batch, 1, 7);
        wire::append_bytes(&mut batch, 2, b"arrow");
        let mut response = Vec::new();
        wire::append_bytes(&mut response, 2, &batch);
        let rows = Part::Rows {
            count: 7,
            stream: b"arrow",
        };
        assert_eq!(part(&response), Ok(rows));

        let mut stage = Vec::new();
        for (number, value) in [(1, 4), (2, 10), (3, 7), (5, 0)] {
            wire::append_varint(&mut stage, number, value);
        }
        let mut body = Vec::new();
        wire::append_bytes(&mut body, 1, &stage);
        wire::append_varint(&mut body, 2, 3);
        let mut response = Vec::new();
        wire::append_bytes(&mut response, 18, &body);
        let progress = Progress {
            stages: 1,
            tasks: 10,
            done_tasks: 7,
            done_stages: 0,
            running_tasks: 3,
        };
        assert_eq!(part(&response), Ok(Part::Progress(progress)));
        assert_eq!(part(&[]), Ok(Part::Other));
    }
}
