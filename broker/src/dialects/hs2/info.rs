//! GetInfo: what tools ask a server about itself. Answered without a driver, since pools ask it of every connection.

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Info {
    /// A text.
    Text(String),
    /// A length.
    Length(i64),
}

/// The answer to a question by its number; `None` where there is none.
pub(super) fn answer(number: i64, spark_version: &str) -> Option<Info> {
    let text = |text: &str| Some(Info::Text(text.to_owned()));
    match number {
        // Simba's drivers look for this name, and for a version.
        13 | 17 => text("Spark SQL"),
        18 => text(spark_version),
        30 | 32 | 35 => Some(Info::Length(128)),
        10006 => text("Unimplemented"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_lengths_are_known_and_the_rest_is_not() {
        // hs2#20
        assert_eq!(answer(17, "4.3.0"), Some(Info::Text("Spark SQL".to_owned())));
        assert_eq!(answer(18, "4.3.0"), Some(Info::Text("4.3.0".to_owned())));
        assert_eq!(answer(35, ""), Some(Info::Length(128)));
        assert_eq!(answer(9999, ""), None);
    }
}
