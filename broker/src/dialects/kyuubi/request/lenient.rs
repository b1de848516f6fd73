//! Values that are nearly of their type, as Kyuubi's own reader converts them.

use std::collections::BTreeMap;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// Doubles count whole numbers one by one up to here.
const MAX_WHOLE: f64 = 9_007_199_254_740_992.0;

/// A text, of a text, number or truth value.
fn plain<E: serde::de::Error>(what: &str, value: Value) -> Result<String, E> {
    match value {
        Value::String(text) => Ok(text),
        Value::Bool(_) | Value::Number(_) => Ok(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => {
            Err(E::custom(format!("{what:.100} is not a text")))
        }
    }
}

/// A text, or null.
pub(in super::super) fn text<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    let given = Option::<Value>::deserialize(from)?;
    given.map(|value| plain("a value", value)).transpose()
}

/// A whole number, as a number or a text, or null. A fraction is left out, as is a text of blanks.
pub(super) fn number<'de, D, N>(from: D) -> Result<Option<N>, D::Error>
where
    D: Deserializer<'de>,
    N: TryFrom<i64>,
{
    let Some(given) = Option::<Value>::deserialize(from)? else {
        return Ok(None);
    };
    let wrong = || D::Error::custom(format!("{given:.64} is not a whole number"));
    let whole = match &given {
        Value::String(text) if text.trim().is_empty() => return Ok(None),
        Value::String(text) => text.trim().parse().ok(),
        Value::Number(number) => number.as_i64().or_else(|| whole(number.as_f64()?)),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    let number = whole.and_then(|whole| N::try_from(whole).ok());
    number.ok_or_else(wrong).map(Some)
}

#[expect(clippy::cast_possible_truncation, reason = "it is in the range")]
fn whole(number: f64) -> Option<i64> {
    (number.abs() <= MAX_WHOLE).then_some(number as i64)
}

/// A truth value, as such, as a text or as a number, or null.
pub(super) fn flag<'de, D: Deserializer<'de>>(from: D) -> Result<Option<bool>, D::Error> {
    let Some(given) = Option::<Value>::deserialize(from)? else {
        return Ok(None);
    };
    match &given {
        Value::Bool(is_set) => Ok(Some(*is_set)),
        Value::Number(number) if number.is_i64() => Ok(number.as_i64().map(|number| number != 0)),
        Value::String(text) if text.trim().is_empty() => Ok(None),
        Value::String(text) if text.trim().eq_ignore_ascii_case("true") => Ok(Some(true)),
        Value::String(text) if text.trim().eq_ignore_ascii_case("false") => Ok(Some(false)),
        _ => Err(D::Error::custom(format!("{given:.64} is neither true nor false"))),
    }
}

/// A list of texts, or null. Items that are null are left out.
pub(super) fn list<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<String>>, D::Error> {
    let Some(given) = Option::<Vec<Value>>::deserialize(from)? else {
        return Ok(None);
    };
    let given = given.into_iter().filter(|item| !item.is_null());
    given
        .map(|item| plain("an item of a list", item))
        .collect::<Result<_, _>>()
        .map(Some)
}

/// A list of texts; null is none.
pub(in super::super) fn words<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    Ok(list(from)?.unwrap_or_default())
}

/// An object of texts; null is an empty one, and nulls in it are left out.
pub(in super::super) fn texts<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    let given = Option::<BTreeMap<String, Value>>::deserialize(from)?.unwrap_or_default();
    let given = given.into_iter().filter(|(_, value)| !value.is_null());
    given
        .map(|(key, value)| {
            let text = plain(&format!("the value of {key}"), value)?;
            Ok((key, text))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_nearly_of_its_type_is_taken() {
        let numbers = [
            (json!(60), Some(60)),
            (json!("60"), Some(60)),
            (json!(" 60 "), Some(60)),
            (json!(60.0), Some(60)),
            (json!(-1), Some(-1)),
            (json!(""), None),
            (json!(null), None),
        ];
        for (given, expected) in numbers {
            assert_eq!(number::<_, i64>(given.clone()).unwrap(), expected, "{given}");
        }
        for odd in [json!("x"), json!(true), json!([1]), json!(1e30)] {
            assert!(number::<_, i64>(odd.clone()).is_err(), "{odd}");
        }
        assert!(number::<_, i32>(json!(1_i64 << 40)).is_err());
        let flags = [
            (json!(true), Some(true)),
            (json!("TRUE"), Some(true)),
            (json!("false"), Some(false)),
            (json!(1), Some(true)),
            (json!(""), None),
            (json!(null), None),
        ];
        for (given, expected) in flags {
            assert_eq!(flag(given.clone()).unwrap(), expected, "{given}");
        }
        assert!(flag(json!("yes")).is_err() && flag(json!({})).is_err());
        assert_eq!(text(json!(7)).unwrap().as_deref(), Some("7"));
        assert!(text(json!({})).is_err());
        assert_eq!(words(json!(["a", null, 2])).unwrap(), ["a", "2"]);
        assert_eq!(list(json!(null)).unwrap(), None);
    }
}
