//! Makes a configuration of what is set, and names all that is wrong with it at once.

use serde_path_to_error::{Path, Segment};
use toml::{Table, Value};

use super::Config;
use super::layers::{Key, Layers};

/// Faults that are named at once.
const MAX_FAULTS: usize = 50;
/// How alike a name must be to one that is meant.
const LIKENESS: f64 = 0.75;

/// The configuration, unless something is missing, and one line for each fault.
pub(super) fn read(layers: &Layers) -> (Option<Config>, Vec<String>) {
    let mut table = layers.table().clone();
    let mut faults = Vec::new();
    while faults.len() < MAX_FAULTS {
        let error = match serde_path_to_error::deserialize(Value::Table(table.clone())) {
            Ok(config) => return (Some(config), faults),
            Err(error) => error,
        };
        let key = key_of(error.path());
        let said: toml::de::Error = error.into_inner();
        faults.push(explain(layers, &key, said.message()));
        if !remove(&mut table, &key) {
            break;
        }
    }
    (None, faults)
}

fn key_of(path: &Path) -> Key {
    let part = |segment: &Segment| match segment {
        Segment::Map { key } => Some(key.clone()),
        Segment::Seq { .. } | Segment::Enum { .. } | Segment::Unknown => None,
    };
    path.iter().map_while(part).collect()
}

fn explain(layers: &Layers, key: &[String], said: &str) -> String {
    let (origin, name) = (layers.origin(key), key.join("."));
    let Some(rest) = said.strip_prefix("unknown field ") else {
        return format!("{origin}: {name}: {said}");
    };
    let mut words = rest.split('`').skip(1).step_by(2);
    let found = words.next().unwrap_or_default();
    let known: Vec<&str> = words.collect();
    let likeness = |word: &&&str| strsim::jaro_winkler(found, word);
    let meant = known
        .iter()
        .max_by(|one, other| likeness(one).total_cmp(&likeness(other)));
    match meant.filter(|word| likeness(word) > LIKENESS) {
        Some(word) => format!("{origin}: {name} is not a setting; did you mean '{word}'?"),
        None => format!(
            "{origin}: {name} is not a setting; there are {}",
            known.join(", ")
        ),
    }
}

fn remove(table: &mut Table, key: &[String]) -> bool {
    match key {
        [] => false,
        [last] => table.remove(last).is_some(),
        [first, rest @ ..] => match table.get_mut(first) {
            Some(Value::Table(inner)) => remove(inner, rest),
            _ => table.remove(first).is_some(),
        },
    }
}
