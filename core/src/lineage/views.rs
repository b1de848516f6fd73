//! What a recorded operation did to temporary views, as its key tells.
//!
//! A write is never run again, but it may have changed the session beside what it wrote: `DROP TABLE v` drops a
//! temporary view first, if there is one. Its key says what, and the recovery makes up for it with what reaches
//! temporary views alone.

use super::{Class, LineageEntry};

/// Begins the key of a write that altered what the view behind it is made of: "altered:view:v".
pub const ALTERED: &str = "altered:";
/// Begins the key of a write that gave the view behind it another name: "renamed:view:v".
pub(crate) const RENAMED: &str = "renamed:";
/// Begins the key of a write that may have changed the session, nobody can tell how; then its own words.
pub(crate) const UNTOLD: &str = "untold:";

/// A temporary view, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TempView<'a> {
    /// Of one session.
    Local(&'a str),
    /// Of all sessions on a driver: `global_temp.name`.
    Global(&'a str),
}

impl<'a> TempView<'a> {
    /// The view with this key, if it is that of one.
    pub(super) fn of(key: &'a str) -> Option<Self> {
        let local = key.strip_prefix("view:").map(Self::Local);
        local.or_else(|| key.strip_prefix("gview:").map(Self::Global))
    }

    /// Its name, without what it is qualified by.
    pub fn name(self) -> &'a str {
        match self {
            Self::Local(name) | Self::Global(name) => name,
        }
    }
}

/// What an operation did to temporary views, by their keys, if it succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change<'a> {
    /// Nothing.
    None,
    /// It made one, or may have.
    Makes(&'a str),
    /// One of that name is gone.
    Drops(&'a str),
    /// One of that name is made of something else.
    Alters(&'a str),
    /// One of that name has another one.
    Renames(&'a str),
    /// Nobody knows.
    Untold,
}

impl<'a> Change<'a> {
    pub(super) fn of(entry: &'a LineageEntry) -> Self {
        match entry.class {
            Class::Write => Self::by_write(&entry.key),
            Class::State => Self::by_state(entry),
            Class::Read | Class::Pinned => Self::None,
        }
    }

    /// The key of the view that it is about.
    pub(super) fn view(self) -> Option<&'a str> {
        match self {
            Self::Makes(view) | Self::Drops(view) | Self::Alters(view) | Self::Renames(view) => Some(view),
            Self::None | Self::Untold => None,
        }
    }

    fn by_write(key: &'a str) -> Self {
        if let Some(view) = key.strip_prefix(ALTERED) {
            return Self::Alters(view);
        }
        if let Some(view) = key.strip_prefix(RENAMED) {
            return Self::Renames(view);
        }
        match TempView::of(key) {
            Some(_) => Self::Drops(key),
            None if key.starts_with(UNTOLD) => Self::Untold,
            None => Self::None,
        }
    }

    /// What makes a view and what drops one have the same key, and so has what a clone has of a write: its drop.
    fn by_state(entry: &'a LineageEntry) -> Self {
        let renamed = entry.key.strip_prefix(RENAMED);
        let drops = entry
            .what
            .get(..4)
            .is_some_and(|verb| verb.eq_ignore_ascii_case("drop"));
        match TempView::of(renamed.unwrap_or(&entry.key)) {
            Some(_) if renamed.is_some() || drops => Self::Drops(renamed.unwrap_or(&entry.key)),
            Some(_) => Self::Makes(&entry.key),
            None => Self::None,
        }
    }
}

/// The key without what says how its view was changed.
pub(super) fn changed(key: &str) -> &str {
    let altered = key.strip_prefix(ALTERED).or_else(|| key.strip_prefix(RENAMED));
    altered.unwrap_or(key)
}
