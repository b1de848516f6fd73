//! What is run in a session and asked of its catalog.

use std::sync::Arc;

use uuid::Uuid;

use super::Engine;
use crate::dialects::sql::aside::{self, Aside};
use crate::dialects::sql::buffer::Buffer;
use crate::dialects::sql::failure::Failure;
use crate::dialects::sql::metadata::{self, Question};
use crate::dialects::sql::operation::{Kind, Operation, State, Work};
use crate::dialects::sql::session::Session;
use crate::dialects::sql::{Caller, Statement, opening, plan};

impl Engine {
    /// An operation of one of the caller's sessions.
    ///
    /// # Errors
    /// There is none of this id.
    pub(crate) fn operation(
        &self,
        session: Uuid,
        id: Uuid,
        caller: &Caller,
    ) -> Result<Arc<Operation>, Failure> {
        let unknown = |_no_session: Failure| Failure::no_operation(id);
        let session = self.session(session, caller).map_err(unknown)?;
        let operation = session.operation(id).ok_or_else(|| Failure::no_operation(id))?;
        operation.touch();
        Ok(operation)
    }

    /// Begins a statement.
    ///
    /// # Errors
    /// It cannot be begun; what it does wrong itself is told by its operation.
    pub(crate) fn execute(
        &self,
        session: &Arc<Session>,
        statement: Statement,
    ) -> Result<Arc<Operation>, Failure> {
        let mut asked = opening::statement(&statement.text, &statement.overlay)?;
        let plan = plan::sql(&asked.text);
        let aside = self.aside(session, &plan, &mut asked);
        let operation = self.enter(session, Kind::Statement, aside.clone())?;
        for note in session.opening.notes.iter().chain(&asked.notes) {
            operation.note(note);
        }
        let limits = [statement.limit, session.opening.query_timeout];
        let limit = limits.into_iter().flatten().min();
        let (owner, running) = (Arc::clone(session), Arc::clone(&operation));
        self.tasks.spawn("sql statement", async move {
            let work = async {
                if let Some(aside) = aside {
                    // On the heap: every statement's task has room for this, and few need it.
                    Box::pin(aside.open()).await?;
                }
                Ok(Work::Plan(plan))
            };
            let ready = owner.ready_aloud(|line| running.note(line));
            running.run(ready, work, limit).await;
        });
        Ok(operation)
    }

    /// Where a statement runs that has settings of its own.
    fn aside(&self, session: &Session, plan: &[u8], asked: &mut opening::Asked) -> Option<Arc<Aside>> {
        let settings = std::mem::take(&mut asked.confs);
        if settings.is_empty() {
            return None;
        }
        if aside::can_run(plan) {
            return Some(Aside::new(session.inside.clone(), settings, self.tasks.clone()));
        }
        asked.notes.extend(settings.iter().map(|(key, value)| {
            format!(
                "WARN {key} is not heeded for a statement that changes its session; use SET {key}={value}"
            )
        }));
        None
    }

    /// Asks about the catalog, and waits for the answer.
    ///
    /// # Errors
    /// It cannot be answered.
    pub(crate) async fn ask(
        &self,
        session: &Arc<Session>,
        question: Question,
    ) -> Result<Arc<Operation>, Failure> {
        let operation = self.enter(session, question.kind(), None)?;
        let (owner, asked) = (Arc::clone(session), Arc::clone(&operation));
        let limit = session.opening.query_timeout;
        self.tasks.spawn("sql metadata", async move {
            let work = async { Ok(Work::Table(metadata::answer(&owner, question).await?)) };
            asked.run(owner.ready(), work, limit).await;
        });
        match operation.ended().await {
            State::Failed(failure) => {
                self.close_operation(session, &operation);
                Err(failure)
            }
            _ => Ok(operation),
        }
    }

    fn enter(
        &self,
        session: &Arc<Session>,
        kind: Kind,
        aside: Option<Arc<Aside>>,
    ) -> Result<Arc<Operation>, Failure> {
        let id = self.place.new_operation();
        let window = self.config.window_bytes;
        let enough = if session.opening.incremental { 0 } else { window };
        let buffer = Buffer::new(Arc::clone(&self.spool), window, enough);
        let operation = Operation::new(id, session.id, kind, session.inside.clone(), aside, buffer);
        if let Some(gone) = session.enter(&operation, self.config.max_operations)? {
            gone.close();
        }
        Ok(operation)
    }

    /// Closes an operation.
    pub(crate) fn close_operation(&self, session: &Session, operation: &Operation) {
        if session.take(operation.id).is_some() {
            operation.close();
        }
    }
}
