//! Options of a JVM as words of one line, which Spark's launcher takes apart at blanks outside quotes.

/// One option as one word, whatever a path in it contains.
pub(crate) fn word(option: &str) -> String {
    let is_plain = |c: char| !c.is_whitespace() && !matches!(c, '"' | '\'' | '\\');
    if option.chars().all(is_plain) {
        return option.to_owned();
    }
    let escaped = option.replace('\\', r"\\").replace('"', "\\\"");
    format!("\"{escaped}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_with_blanks_stays_one_word() {
        assert_eq!(word("-Da=/b"), "-Da=/b");
        assert_eq!(word("-Da=/b c"), "\"-Da=/b c\"");
        assert_eq!(word(r#"-Da=/b"\c"#), r#""-Da=/b\"\\c""#);
    }
}
