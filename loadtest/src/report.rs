//! Results as a table for people and as JSON for machines.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use comfy_table::{Table, presets};
use serde::Serialize;

use crate::machine::Machine;
use crate::pace::Sample;

/// A benchmark's result.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Which benchmark.
    pub benchmark: &'static str,
    /// Column names.
    pub columns: Vec<String>,
    /// Rows, as shown.
    pub rows: Vec<Vec<String>>,
    /// What to know about the figures.
    pub notes: Vec<String>,
    /// Where they were measured.
    pub machine: Machine,
}

impl Report {
    /// An empty report with these columns.
    pub fn new(benchmark: &'static str, columns: &[&str]) -> Self {
        Self {
            benchmark,
            columns: columns.iter().map(ToString::to_string).collect(),
            rows: Vec::new(),
            notes: Vec::new(),
            machine: Machine::read(),
        }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// Adds a note.
    pub fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    /// Adds the row of a sample: name, requests, errors, p50, p90, p99, p99.9, max.
    pub fn sample(&mut self, name: &str, sample: &Sample) {
        let mut cells = vec![
            name.to_owned(),
            sample.latency.len().to_string(),
            sample.errors.to_string(),
        ];
        cells.extend([0.5, 0.9, 0.99, 0.999].map(|share| millis(sample.quantile(share))));
        cells.push(millis(sample.max()));
        self.row(cells);
        if let Some(error) = &sample.first_error {
            self.note(format!("{name}: first error: {error}"));
        }
    }

    /// Writes the table to standard output, and JSON to `file` if given.
    ///
    /// # Errors
    /// When writing fails.
    pub fn write(&self, file: Option<&Path>) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{}", self.table())?;
        for note in &self.notes {
            writeln!(out, "{note}")?;
        }
        let machine = &self.machine;
        let (cpu, cores, kernel) = (&machine.cpu, machine.cores, &machine.kernel);
        writeln!(
            out,
            "{cpu}, {cores} cores, Linux {kernel}, load before {}",
            machine.load_before
        )?;
        writeln!(
            out,
            "commit {}, {} load generator: {}",
            machine.commit, machine.build, machine.command
        )?;
        if let Some(file) = file {
            let json = serde_json::to_vec_pretty(self)?;
            std::fs::write(file, json).with_context(|| format!("writing {}", file.display()))?;
        }
        Ok(())
    }

    fn table(&self) -> Table {
        let mut table = Table::new();
        table
            .load_style(presets::ASCII_MARKDOWN)
            .set_header(self.columns.clone());
        for row in &self.rows {
            table.add_row(row.clone());
        }
        table
    }
}

/// The columns of [`Report::sample`].
pub const SAMPLE_COLUMNS: [&str; 8] = [
    "what", "requests", "errors", "p50 ms", "p90 ms", "p99 ms", "p99.9 ms", "max ms",
];

/// Milliseconds with three digits.
pub fn millis(duration: Duration) -> String {
    format!("{:.3}", duration.as_secs_f64() * 1e3)
}
