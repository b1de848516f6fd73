//! Listings of one database after another, of which some may be gone or closed to the user.

use arrow_array::RecordBatch;

use crate::dialects::sql::failure::Failure;
use crate::dialects::sql::plan::{self, Ask};
use crate::dialects::sql::session::Session;

/// Listings of a session's databases.
#[derive(Debug)]
pub(super) struct Listings<'a> {
    session: &'a Session,
    failed: Option<Failure>,
}

impl<'a> Listings<'a> {
    pub(super) fn of(session: &'a Session) -> Self {
        Self {
            session,
            failed: None,
        }
    }

    /// What one of them lists. Nothing of one that is dropped meanwhile, nor of one that cannot be read: that must not
    /// hide the others.
    pub(super) async fn ask(&mut self, ask: Ask<'_>) -> Result<Vec<RecordBatch>, Failure> {
        match self.session.whole(&plan::catalog(&ask)).await {
            Err(failure) if !failure.is_passing => {
                if !failure.is_of_what_is_gone() {
                    tracing::debug!(session.id = %self.session.id, ?ask, error = %failure, "a database cannot be listed");
                    self.failed = Some(failure);
                }
                Ok(Vec::new())
            }
            other => other,
        }
    }

    /// What all list; an error if that is nothing, and some could not be read.
    pub(super) fn end<T>(self, found: Vec<T>) -> Result<Vec<T>, Failure> {
        match self.failed {
            Some(failure) if found.is_empty() => Err(failure),
            _ => Ok(found),
        }
    }
}
