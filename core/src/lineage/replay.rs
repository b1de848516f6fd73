//! What a recovery sends to a new driver.

use super::compact::{Made, Needs};
use super::views::{Change, TempView};
use super::{Class, LineageEntry, Outcome};

/// One step of a rebuild.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step<'a> {
    /// Send the entry's request again. Of a write, which altered a temporary view, send what makes that view anew
    /// ([`super::altered::recreating`]), and nothing else.
    Send(&'a LineageEntry),
    /// Drop a temporary view: all that a recorded `DROP VIEW` or `DROP TABLE` may do a second time. Something permanent
    /// of that name may have been made again by somebody else.
    DropTempView {
        /// The recorded statement.
        entry: &'a LineageEntry,
        /// The view.
        name: TempView<'a>,
    },
}

/// The steps that make a session's state again, in order, from its lineage in order.
///
/// A state change that succeeded is made again. One whose outcome nobody knows is made too: the new driver has never
/// seen it, so there it runs once, in its place, and its outcome is known from then on. What failed is left out,
/// and what wrote is never sent again (I3): what it did to temporary views is made up for. What a later entry replaces
/// is left out too.
pub fn plan(entries: &[LineageEntry]) -> Vec<Step<'_>> {
    let needs = Needs::of(entries);
    let kept = entries.iter().filter(|entry| !needs.is_superseded(entry));
    kept.flat_map(|entry| steps(entry, needs.made(entry)).into_iter().flatten())
        .collect()
}

/// The steps of one entry; `made` is how surely the view is there that it changed.
fn steps(entry: &LineageEntry, made: Option<Made>) -> [Option<Step<'_>>; 2] {
    let send = Some(Step::Send(entry));
    if entry.class == Class::State {
        let may_have_succeeded = !matches!(entry.outcome, Outcome::Failed { .. });
        return [send.filter(|_| may_have_succeeded), None];
    }
    let Some(made) = made else {
        return [None, None];
    };
    match Change::of(entry) {
        // Dropped first: if it cannot be made again, a query fails rather than be answered from what the view was.
        Change::Alters(view) => [drop_of(entry, view), send.filter(|_| made == Made::Surely)],
        Change::Drops(view) | Change::Renames(view) => [drop_of(entry, view), None],
        Change::None | Change::Makes(_) | Change::Untold => [None, None],
    }
}

fn drop_of<'a>(entry: &'a LineageEntry, view: &'a str) -> Option<Step<'a>> {
    TempView::of(view).map(|name| Step::DropTempView { entry, name })
}

/// Names of writes that are told at most.
const MAX_TOLD: usize = 20;

/// What only the lost driver had, and what writes changed of the session that is not made again, for its history.
pub fn lost(entries: &[LineageEntry]) -> Vec<String> {
    let needs = Needs::of(entries);
    let pinned = entries.iter().filter(|entry| entry.class == Class::Pinned);
    let pinned = pinned.filter(|entry| !matches!(entry.outcome, Outcome::Failed { .. }));
    let untold = entries.iter().filter(|entry| is_lost(entry, &needs));
    let untold = untold.map(|entry| {
        format!(
            "{}: it is not run again, and what it may have changed in the session is gone",
            entry.what
        )
    });
    pinned
        .map(|entry| entry.what.clone())
        .chain(untold.take(MAX_TOLD))
        .collect()
}

/// Whether the session lacks something of what a write did to it.
fn is_lost(entry: &LineageEntry, needs: &Needs) -> bool {
    match (Change::of(entry), needs.made(entry)) {
        (Change::Untold, _) => needs.is_untold(entry),
        (Change::Renames(_), made) => made.is_some(),
        (Change::Alters(_), made) => made == Some(Made::Maybe),
        (Change::None | Change::Makes(_) | Change::Drops(_), _) => false,
    }
}

#[cfg(test)]
mod tests;
