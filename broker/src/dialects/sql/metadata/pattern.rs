//! Patterns of JDBC: `%` is anything, `_` one character, a backslash takes the next character as it is. Hive's `*`
//! and `.*` are anything too, `|` parts alternatives.

/// A pattern over names, whose case does not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern(Vec<Vec<Part>>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Any,
    One,
    Is(char),
}

impl Pattern {
    /// Reads a pattern; nothing and an empty one match everything.
    pub(super) fn new(text: Option<&str>) -> Self {
        let text = text.filter(|text| !text.is_empty()).unwrap_or("%");
        Self(text.split('|').map(parts).collect())
    }

    /// True if a name fits.
    pub(super) fn is_match(&self, name: &str) -> bool {
        let name: Vec<char> = name.to_lowercase().chars().collect();
        self.0.iter().any(|parts| fits(parts, &name))
    }

    /// True if the name of something within `outer` could fit.
    pub(super) fn may_match_within(&self, outer: &str) -> bool {
        let begins = format!("{}.", outer.to_lowercase());
        let goes_on = |parts: &Vec<Part>| {
            let reached = reached(parts, &begins);
            // At least one more character follows.
            reached[..parts.len()].contains(&true)
        };
        self.0.iter().any(goes_on)
    }
}

/// The places in a pattern to which it can have got after these characters.
fn reached(parts: &[Part], name: &str) -> Vec<bool> {
    let mut at = vec![false; parts.len() + 1];
    at[0] = true;
    pass_any(parts, &mut at);
    for c in name.chars() {
        let mut next = vec![false; parts.len() + 1];
        for (place, part) in parts.iter().enumerate().filter(|(place, _)| at[*place]) {
            match part {
                Part::Any => next[place] = true,
                Part::One => next[place + 1] = true,
                Part::Is(wanted) => next[place + 1] |= *wanted == c,
            }
        }
        pass_any(parts, &mut next);
        at = next;
    }
    at
}

/// An `Any` may stand for nothing.
fn pass_any(parts: &[Part], at: &mut [bool]) {
    for (place, part) in parts.iter().enumerate() {
        at[place + 1] |= at[place] && *part == Part::Any;
    }
}

fn parts(text: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut chars = text.chars().flat_map(char::to_lowercase).peekable();
    while let Some(c) = chars.next() {
        parts.push(match c {
            '%' | '*' => Part::Any,
            '_' => Part::One,
            '.' if chars.next_if_eq(&'*').is_some() => Part::Any,
            '.' => Part::One,
            '\\' => Part::Is(chars.next().unwrap_or('\\')),
            other => Part::Is(other),
        });
    }
    parts
}

/// Goes back to the latest `Any` only: no pattern takes longer than its length times the name's.
fn fits(parts: &[Part], name: &[char]) -> bool {
    let (mut part, mut at) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    while at < name.len() {
        match parts.get(part) {
            Some(Part::Any) => {
                back = Some((part, at));
                part += 1;
            }
            Some(Part::One) => (part, at) = (part + 1, at + 1),
            Some(Part::Is(c)) if *c == name[at] => (part, at) = (part + 1, at + 1),
            Some(Part::Is(_)) | None => match back {
                None => return false,
                Some((any, from)) => {
                    (part, at) = (any + 1, from + 1);
                    back = Some((any, from + 1));
                }
            },
        }
    }
    parts[part..].iter().all(|rest| *rest == Part::Any)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_or_do_not() {
        // hs2#46
        let cases = [
            (None, "x", true),
            (Some(""), "x", true),
            (Some("*"), "x", true),
            (Some("a%"), "Abc", true),
            (Some("a%"), "bac", false),
            (Some("a\\_b"), "a_b", true),
            (Some("a\\_b"), "axb", false),
            (Some("_"), "x", true),
            (Some("_"), "xy", false),
            (Some("%b%d"), "abcbd", true),
            (Some("tab.*"), "table", true),
            (Some("a|b"), "b", true),
            (Some("\u{c4}%"), "\u{e4}b", true),
        ];
        for (pattern, name, expected) in cases {
            assert_eq!(
                Pattern::new(pattern).is_match(name),
                expected,
                "{pattern:?} {name}"
            );
        }
    }

    #[test]
    fn a_pattern_tells_whether_something_within_could_fit() {
        let cases = [
            ("%", "a", true),
            ("a%", "A", true),
            ("a%", "b", false),
            ("a", "a", false),
            ("a.", "a", false),
            ("a.b", "a", true),
            ("x|a.b.c", "a.b", true),
            ("%c", "a.b", true),
            ("___", "a", true),
            ("__", "a", false),
        ];
        for (pattern, outer, expected) in cases {
            let pattern = Pattern::new(Some(pattern));
            assert_eq!(pattern.may_match_within(outer), expected, "{pattern:?} {outer}");
        }
    }

    #[test]
    fn a_pattern_of_many_stars_ends() {
        let pattern = Pattern::new(Some(&"%a".repeat(2000)));
        assert!(!pattern.is_match(&"a".repeat(1999)));
    }
}
