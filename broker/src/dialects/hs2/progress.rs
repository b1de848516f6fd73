//! How far a statement is, as Hive's beeline draws it.
//!
//! Its table has nine columns. It formats every row by that number, and takes a row with fewer cells for the failure
//! of the statement.

use super::wire::{Out, kind};
use crate::dialects::sql::plan::Progress;

const HEADERS: [&str; 9] = [
    "STAGES",
    "ATTEMPT",
    "STATUS",
    "TOTAL",
    "COMPLETED",
    "RUNNING",
    "PENDING",
    "FAILED",
    "",
];
/// `TJobExecutionStatus`: it is drawn.
const IN_PROGRESS: i32 = 0;
/// `TJobExecutionStatus`: there is nothing to draw.
const NOT_AVAILABLE: i32 = 2;

/// The cells of the only row: all stages together. What Spark Connect does not tell is left empty.
fn row(progress: &Progress) -> [String; 9] {
    let begun = progress.done_tasks.saturating_add(progress.running_tasks);
    [
        format!("{} of {}", progress.done_stages, progress.stages),
        String::new(),
        "RUNNING".to_owned(),
        progress.tasks.to_string(),
        progress.done_tasks.to_string(),
        progress.running_tasks.to_string(),
        progress.tasks.saturating_sub(begun).to_string(),
        String::new(),
        String::new(),
    ]
}

/// Writes the fields of a `TProgressUpdateResp`.
pub(super) fn write(out: &mut Out, progress: &Progress, started_at: i64) {
    let texts =
        |out: &mut Out, texts: &[String]| texts.iter().for_each(|text| out.raw_bytes(text.as_bytes()));
    let is_known = progress.tasks > 0;
    out.list(1, kind::TEXT, HEADERS.len());
    texts(out, &HEADERS.map(str::to_owned));
    out.list(2, kind::LIST, usize::from(is_known));
    if is_known {
        out.raw_list(kind::TEXT, HEADERS.len());
        texts(out, &row(progress));
    }
    let done = progress.done_tasks as f64 / progress.tasks.max(1) as f64;
    out.double(3, done);
    out.int(4, if is_known { IN_PROGRESS } else { NOT_AVAILABLE });
    out.text(
        5,
        &format!("STAGES: {}/{}", progress.done_stages, progress.stages),
    );
    out.long(6, started_at);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_a_cell_for_each_column_of_beeline() {
        // hs2#54
        let progress = Progress {
            done_stages: 1,
            stages: 3,
            done_tasks: 5,
            tasks: 12,
            running_tasks: 2,
        };
        let expected = ["1 of 3", "", "RUNNING", "12", "5", "2", "5", "", ""];
        assert_eq!(row(&progress), expected);
    }
}
