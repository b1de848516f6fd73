//! Prints the effective configuration with the place that each value came from.

use std::fmt::Write as _;

use serde_json::json;
use toml::{Table, Value};

use super::Config;
use super::layers::{Key, Layers};

/// As a TOML file that sets the same, with origins as comments.
///
/// # Errors
/// A value that TOML cannot write.
pub(crate) fn as_toml(config: &Config, layers: &Layers) -> anyhow::Result<String> {
    let mut text = String::new();
    for (key, value) in settings(config)? {
        let name: Vec<String> = key.iter().map(|part| quoted(part)).collect();
        writeln!(text, "{} = {value}  # {}", name.join("."), layers.origin(&key))?;
    }
    Ok(text)
}

/// As a JSON array of objects with `key`, `value` and `origin`.
///
/// # Errors
/// A value that TOML cannot write.
pub(crate) fn as_json(config: &Config, layers: &Layers) -> anyhow::Result<String> {
    let rows = settings(config)?.into_iter().map(|(key, value)| {
        json!({ "key": key.join("."), "value": value, "origin": layers.origin(&key).to_string() })
    });
    Ok(serde_json::to_string_pretty(&rows.collect::<Vec<_>>())?)
}

fn settings(config: &Config) -> anyhow::Result<Vec<(Key, Value)>> {
    let mut found = Vec::new();
    collect(&Table::try_from(config)?, &mut Key::new(), &mut found);
    Ok(found)
}

fn collect(table: &Table, at: &mut Key, found: &mut Vec<(Key, Value)>) {
    for (name, value) in table {
        at.push(name.clone());
        match value {
            Value::Table(inner) if !inner.is_empty() => collect(inner, at, found),
            _ => found.push((at.clone(), value.clone())),
        }
        at.pop();
    }
}

/// A part of a dotted key, in quotes if it needs them.
fn quoted(part: &str) -> String {
    let is_bare = !part.is_empty()
        && part
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
    if is_bare {
        part.to_owned()
    } else {
        Value::String(part.to_owned()).to_string()
    }
}
