//! Values in bodies, read as Livy's parser reads them: what is null is not there, numbers and booleans are good as text.

use std::collections::BTreeMap;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// Items of one list.
const MAX_ITEMS: usize = 1000;

/// A number, or a text that is one.
pub(super) fn number<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u32>, D::Error> {
    match Option::<Value>::deserialize(from)? {
        None => Ok(None),
        Some(Value::String(text)) => text.parse().map(Some).map_err(D::Error::custom),
        Some(value) => serde_json::from_value(value).map(Some).map_err(D::Error::custom),
    }
}

/// A text.
pub(super) fn text<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    let value = Option::<Value>::deserialize(from)?;
    value.map(|value| plain(value, "a field")).transpose()
}

/// Texts by their names.
pub(super) fn texts<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, String>, D::Error> {
    let values = Option::<BTreeMap<String, Value>>::deserialize(from)?.unwrap_or_default();
    let given = values.into_iter().filter(|(_, value)| !value.is_null());
    given
        .map(|(key, value)| {
            let text = plain(value, &format!("conf {key}"))?;
            Ok((key, text))
        })
        .collect()
}

/// A list of texts.
pub(super) fn list<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    let values = Option::<Vec<Value>>::deserialize(from)?.unwrap_or_default();
    if values.len() > MAX_ITEMS {
        return Err(D::Error::custom(format!(
            "a list has more than {MAX_ITEMS} items"
        )));
    }
    let items = values.into_iter();
    items.map(|value| plain(value, "an item of a list")).collect()
}

fn plain<E: serde::de::Error>(value: Value, what: &str) -> Result<String, E> {
    match value {
        Value::String(text) => Ok(text),
        Value::Number(_) | Value::Bool(_) => Ok(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => {
            Err(E::custom(format!("{what} is neither text, number nor boolean")))
        }
    }
}
