//! The driver host's program: Python files that the agent brings along.

use std::io::Result;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::files::{Durable, private_directory, replace};

/// The driver host's files.
const HOST: &[(&str, &str)] = &[
    (
        "__init__.py",
        include_str!("../../driver/berth_driver/__init__.py"),
    ),
    (
        "__main__.py",
        include_str!("../../driver/berth_driver/__main__.py"),
    ),
    ("batch.py", include_str!("../../driver/berth_driver/batch.py")),
    ("effects.py", include_str!("../../driver/berth_driver/effects.py")),
    ("failure.py", include_str!("../../driver/berth_driver/failure.py")),
    ("frames.py", include_str!("../../driver/berth_driver/frames.py")),
    (
        "interpreter.py",
        include_str!("../../driver/berth_driver/interpreter.py"),
    ),
    (
        "interrupts.py",
        include_str!("../../driver/berth_driver/interrupts.py"),
    ),
    (
        "javajobs.py",
        include_str!("../../driver/berth_driver/javajobs.py"),
    ),
    ("jobs.py", include_str!("../../driver/berth_driver/jobs.py")),
    ("magics.py", include_str!("../../driver/berth_driver/magics.py")),
    (
        "metastore.py",
        include_str!("../../driver/berth_driver/metastore.py"),
    ),
    (
        "processes.py",
        include_str!("../../driver/berth_driver/processes.py"),
    ),
    (
        "resources.py",
        include_str!("../../driver/berth_driver/resources.py"),
    ),
    ("rows.py", include_str!("../../driver/berth_driver/rows.py")),
    ("runner.py", include_str!("../../driver/berth_driver/runner.py")),
    ("scala.py", include_str!("../../driver/berth_driver/scala.py")),
    (
        "scala_effects.py",
        include_str!("../../driver/berth_driver/scala_effects.py"),
    ),
    (
        "scala_text.py",
        include_str!("../../driver/berth_driver/scala_text.py"),
    ),
    (
        "scala_values.py",
        include_str!("../../driver/berth_driver/scala_values.py"),
    ),
    ("shells.py", include_str!("../../driver/berth_driver/shells.py")),
    ("spark.py", include_str!("../../driver/berth_driver/spark.py")),
    (
        "supervisor.py",
        include_str!("../../driver/berth_driver/supervisor.py"),
    ),
    ("text.py", include_str!("../../driver/berth_driver/text.py")),
    (
        "training.py",
        include_str!("../../driver/berth_driver/training.py"),
    ),
    (
        "variables.py",
        include_str!("../../driver/berth_driver/variables.py"),
    ),
];

/// Writes the host's files below `state`, beside those of other versions that may still run; gives its entry point.
pub(crate) fn install(state: &Path) -> Result<PathBuf> {
    let mut hash = Sha256::new();
    for (name, text) in HOST.iter().copied() {
        hash.update(name);
        hash.update(text);
    }
    let version: String = hash
        .finalize()
        .iter()
        .take(6)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let directory = state.join(format!("host-{version}")).join("berth_driver");
    private_directory(&directory)?;
    for (name, text) in HOST.iter().copied() {
        replace(&directory.join(name), text.as_bytes(), Durable::Process)?;
    }
    Ok(directory.join("__main__.py"))
}
