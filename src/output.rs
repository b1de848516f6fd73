//! Tables, JSON, and errors in one line.

use std::io::Write;
use std::process::ExitCode;

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;

use crate::cli::Format;

/// Prints rows, each an object with the same keys in the same order.
pub(crate) fn rows(format: Format, columns: &[&str], rows: &[Value]) -> std::io::Result<()> {
    let mut out = std::io::stdout();
    match format {
        Format::Json => writeln!(out, "{}", serde_json::to_string_pretty(rows)?),
        Format::Table => {
            let mut table = Table::new();
            table
                .load_style(presets::NOTHING)
                .set_content_arrangement(ContentArrangement::Dynamic);
            table.set_header(columns.iter().map(|column| column.to_uppercase()));
            for row in rows {
                table.add_row(columns.iter().map(|column| cell(&row[*column])));
            }
            writeln!(out, "{table}")
        }
    }
}

/// Prints one row at once: its cells with tabs between them, or its JSON in a line of its own.
pub(crate) fn line(format: Format, columns: &[&str], row: &Value) -> std::io::Result<()> {
    let mut out = std::io::stdout();
    match format {
        Format::Json => writeln!(out, "{row}")?,
        Format::Table => {
            let cells: Vec<_> = columns.iter().map(|column| cell(&row[*column])).collect();
            writeln!(out, "{}", cells.join("\t"))?;
        }
    }
    out.flush()
}

fn cell(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

/// Prints an error in one line and gives the exit code: 3 for what is not there, 4 for who does not answer, else 1.
pub(crate) fn fail(error: &anyhow::Error) -> ExitCode {
    // Nobody reads it when this fails too.
    let _unread = writeln!(std::io::stderr(), "berth: {error:#}");
    let code = error.downcast_ref::<tonic::Status>().map(tonic::Status::code);
    match code {
        Some(tonic::Code::NotFound) => ExitCode::from(3),
        Some(tonic::Code::Unavailable) => ExitCode::from(4),
        _ if error.downcast_ref::<tonic::transport::Error>().is_some() => ExitCode::from(4),
        _ => ExitCode::FAILURE,
    }
}
