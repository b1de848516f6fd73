//! Settings from several places, the later ones over the earlier ones.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use anyhow::{Context, anyhow};
use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table, Value};

/// What environment variables begin with; `__` stands between the parts of a name.
const PREFIX: &str = "BERTH__";

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Nobody set it.
    Default,
    /// A line of the file.
    File {
        /// The file.
        path: String,
        /// The line, from 1.
        line: usize,
    },
    /// An environment variable.
    Environment(String),
    /// A flag of the command line, as it is written.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{path}:{line}"),
            Self::Environment(name) | Self::Flag(name) => f.write_str(name),
        }
    }
}

/// A setting's name, part by part.
pub(crate) type Key = Vec<String>;

/// What is set, and where.
#[derive(Debug, Clone, Default)]
pub(crate) struct Layers {
    table: Table,
    origins: BTreeMap<Key, Origin>,
}

impl Layers {
    /// The file, the environment and then the flags.
    ///
    /// # Errors
    /// The file cannot be read or is no TOML.
    pub(crate) fn gather(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
        flags: impl IntoIterator<Item = (String, Key, Value)>,
    ) -> anyhow::Result<Self> {
        let mut layers = Self::default();
        if let Some(path) = file {
            layers.add_file(path)?;
        }
        let named = environment
            .into_iter()
            .filter(|(name, _)| name.starts_with(PREFIX));
        for (name, text) in named {
            let parts = name[PREFIX.len()..].split("__");
            let key = parts.map(|part| part.to_lowercase().replace('_', "-")).collect();
            layers.set(key, value_of(&text), Origin::Environment(name));
        }
        for (flag, key, value) in flags {
            layers.set(key, value, Origin::Flag(flag));
        }
        Ok(layers)
    }

    /// The values.
    pub(crate) fn table(&self) -> &Table {
        &self.table
    }

    /// Where a setting, or the nearest one that it is a part of, was set.
    pub(crate) fn origin(&self, key: &[String]) -> Origin {
        let found = (1..=key.len())
            .rev()
            .find_map(|length| self.origins.get(&key[..length]));
        let below = || self.origins.iter().find(|(set, _)| set.starts_with(key));
        found
            .or_else(|| below().map(|(_, origin)| origin))
            .cloned()
            .unwrap_or(Origin::Default)
    }

    fn add_file(&mut self, path: &Path) -> anyhow::Result<()> {
        let shown = path.display();
        let text = std::fs::read_to_string(path).with_context(|| {
            format!("the configuration {shown} cannot be read; name another with --config")
        })?;
        let parsed = DeTable::parse(&text).map_err(|error| anyhow!("{shown} is not TOML: {error}"))?;
        let table: Table = toml::from_str(&text)?;
        let mut lines = Vec::new();
        leaves(parsed.get_ref(), &mut Vec::new(), &mut lines);
        for (key, at) in lines {
            let line = text[..at].matches('\n').count() + 1;
            let path = shown.to_string();
            self.origins.insert(key, Origin::File { path, line });
        }
        merge(&mut self.table, table);
        Ok(())
    }

    fn set(&mut self, key: Key, value: Value, origin: Origin) {
        let Some((last, parents)) = key.split_last() else {
            return;
        };
        let mut table = &mut self.table;
        for parent in parents {
            let entry = table
                .entry(parent.clone())
                .or_insert_with(|| Value::Table(Table::new()));
            if !entry.is_table() {
                *entry = Value::Table(Table::new());
            }
            let Value::Table(inner) = entry else { return };
            table = inner;
        }
        table.insert(last.clone(), value);
        self.origins.retain(|set, _| !set.starts_with(&key));
        self.origins.insert(key, origin);
    }
}

/// The setting and value of a flag `--set key=value`.
///
/// # Errors
/// The text is not of that form.
pub(crate) fn assignment(text: &str) -> Result<(Key, Value), String> {
    let form = || format!("'{text}' is not of the form KEY=VALUE, such as broker.hold-seconds=60");
    let (name, value) = text.split_once('=').ok_or_else(form)?;
    let marked: Table = toml::from_str(&format!("{name} = 0")).map_err(|_not_a_key| form())?;
    let mut key = Key::new();
    let mut table = &marked;
    while let Some((part, inner)) = table.iter().next() {
        key.push(part.clone());
        match inner {
            Value::Table(inner) => table = inner,
            Value::String(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Boolean(_)
            | Value::Datetime(_)
            | Value::Array(_) => break,
        }
    }
    Ok((key, value_of(value.trim())))
}

/// A value as TOML writes it, or else a text.
fn value_of(text: &str) -> Value {
    let parsed: Option<Table> = toml::from_str(&format!("value = {text}")).ok();
    let parsed = parsed.filter(|table| table.len() == 1);
    parsed
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| Value::String(text.to_owned()))
}

fn merge(into: &mut Table, from: Table) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Table(into)), Value::Table(from)) => merge(into, from),
            (_, value) => drop(into.insert(key, value)),
        }
    }
}

/// The settings of a file with the offset of each.
fn leaves(table: &DeTable<'_>, at: &mut Key, found: &mut Vec<(Key, usize)>) {
    for (name, value) in table {
        at.push(name.get_ref().to_string());
        match value.get_ref() {
            DeValue::Table(inner) => {
                found.push((at.clone(), Spanned::span(name).start));
                leaves(inner, at, found);
            }
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_) => found.push((at.clone(), Spanned::span(name).start)),
        }
        at.pop();
    }
}

/// The environment, but for what is no text: that is no setting.
pub(crate) fn text_variables() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}
