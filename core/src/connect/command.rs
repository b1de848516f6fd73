//! Commands of `ExecutePlan`.

use crate::lineage::Class;
use crate::wire::{self, Value, WireError};

use super::relation::{self, Use};
use super::{Classified, Found, Standing, of_sql};

/// Classifies a serialized `Command`.
pub(super) fn classify(command: &[u8]) -> Result<Classified, WireError> {
    let mut classified = Classified::new(Class::Write, "unknown command");
    for field in wire::fields(command) {
        let field = field?;
        if let Value::Bytes(body) = field.value {
            classified = operation(field.number, body)?;
        }
    }
    Ok(classified)
}

fn operation(number: u32, body: &[u8]) -> Result<Classified, WireError> {
    let name = || Ok::<_, WireError>(wire::last_text(body, 1)?.unwrap_or_default());
    let write = |what: &str| Ok(Classified::new(Class::Write, what));
    match number {
        1 => Ok(named("register function", "udf", &name()?)),
        10 => Ok(named("register table function", "udtf", &name()?)),
        12 => Ok(named("register data source", "source", &name()?)),
        2 => over(Classified::new(Class::Write, "write"), body, 1),
        4 => over(Classified::new(Class::Write, "writeTo"), body, 1),
        3 => view(body),
        5 => sql_command(body),
        6 => over(Classified::new(Class::Write, "start streaming query"), body, 1),
        7 => streaming_query(body),
        8 => Ok(Classified::new(Class::Read, "resources")),
        9 => streaming_manager(body),
        11 => listener_bus(body),
        13 => Ok(Classified::new(Class::Pinned, "create resource profile")),
        14 => over(Classified::new(Class::Pinned, "checkpoint"), body, 1),
        15 => Ok(Classified::new(Class::Read, "remove cached relation")),
        16 => over(Classified::new(Class::Write, "merge into table"), body, 2),
        17 => ml(body),
        18 => write("execute external command"),
        19 => pipeline(body),
        _ => write("unknown command"),
    }
}

fn named(what: &str, kind: &str, name: &str) -> Classified {
    Classified::new(Class::State, format!("{what} {name}")).keyed(kind, &name.to_lowercase())
}

/// A command over the relation in field `input`.
fn over(command: Classified, body: &[u8], input: u32) -> Result<Classified, WireError> {
    let relation = wire::last_bytes(body, input)?.unwrap_or_default();
    let found = relation::walk(relation, Use::Analyze)?;
    Ok(command.with(Found {
        class: Class::Read,
        ..found
    }))
}

fn view(body: &[u8]) -> Result<Classified, WireError> {
    let name = wire::last_text(body, 2)?.unwrap_or_default();
    let global = wire::last_varint(body, 3)? == Some(1);
    let kind = if global { "gview" } else { "view" };
    let command =
        Classified::new(Class::State, format!("create view {name}")).keyed(kind, &name.to_lowercase());
    over(command, body, 1)
}

/// 3.4 and 3.5 clients put the text in field 1, 4.x clients a relation in field 6: `Sql`, or `WithRelations` around
/// it. With `WithRelations` the statement is its root (field 1); what it refers to is only read.
fn sql_command(body: &[u8]) -> Result<Classified, WireError> {
    let text = wire::last_text(body, 1)?.unwrap_or_default();
    let Some(input) = wire::last_bytes(body, 6)? else {
        return Ok(of_sql(&text));
    };
    let statement = relation::walk(input, Use::Execute)?;
    Ok(Classified::new(Class::Read, "sql query").with(statement))
}

fn streaming_query(body: &[u8]) -> Result<Classified, WireError> {
    // status 2, last_progress 3, recent_progress 4, explain 7, exception 8, await_termination 9 only look.
    let mut classified = Classified::new(Class::Read, "streaming query status");
    for field in wire::fields(body) {
        match field?.number {
            5 => classified = Classified::new(Class::Write, "stop streaming query"),
            6 => classified = Classified::new(Class::Write, "process all available"),
            9 => classified = classified.standing(Standing::Waits),
            _ => {}
        }
    }
    // `StreamingQueryInstanceId`: the id (1) stays when the query is started again, the id of the run (2) does not.
    if let Some(query) = wire::last_bytes(body, 1)? {
        classified.handles.extend(wire::last_text(query, 1)?);
    }
    Ok(classified)
}

fn streaming_manager(body: &[u8]) -> Result<Classified, WireError> {
    let mut classified = Classified::new(Class::Read, "streaming queries");
    for field in wire::fields(body) {
        match field?.number {
            3 => classified = classified.standing(Standing::Waits),
            4 => classified = Classified::new(Class::State, "reset terminated"),
            5 => classified = Classified::new(Class::State, "add streaming listener"),
            6 => classified = Classified::new(Class::State, "remove streaming listener"),
            _ => {}
        }
    }
    Ok(classified)
}

/// `StreamingQueryListenerBusCommand`: add 1, remove 2.
fn listener_bus(body: &[u8]) -> Result<Classified, WireError> {
    let removes = wire::last_varint(body, 2)? == Some(1);
    let (what, standing) = if removes {
        ("stop streaming events", Standing::ClosesEvents)
    } else {
        ("streaming events", Standing::OpensEvents)
    };
    Ok(Classified::new(Class::Read, what).standing(standing))
}

fn ml(body: &[u8]) -> Result<Classified, WireError> {
    let mut classified = Classified::new(Class::Pinned, "ml command");
    for field in wire::fields(body) {
        classified = match field?.number {
            1 => Classified::new(Class::Pinned, "ml fit"),
            2 => Classified::new(Class::Pinned, "ml fetch"),
            3 => Classified::new(Class::Read, "ml delete"),
            4 => Classified::new(Class::Write, "ml write"),
            5 => Classified::new(Class::Pinned, "ml read"),
            6 => Classified::new(Class::Read, "ml evaluate"),
            7 => Classified::new(Class::Read, "ml clean cache"),
            8 | 10 => Classified::new(Class::Read, "ml cache info"),
            9 => Classified::new(Class::Pinned, "ml create summary"),
            _ => classified,
        };
    }
    Ok(classified)
}

fn pipeline(body: &[u8]) -> Result<Classified, WireError> {
    let mut classified = Classified::new(Class::Write, "pipeline command");
    for field in wire::fields(body) {
        classified = match field?.number {
            1 => Classified::new(Class::Pinned, "create pipeline graph"),
            2 | 3 | 6 | 8 => Classified::new(Class::Pinned, "define pipeline"),
            4 => Classified::new(Class::Pinned, "drop pipeline graph"),
            7 => Classified::new(Class::Read, "pipeline signal stream"),
            _ => classified,
        };
    }
    Ok(classified)
}
