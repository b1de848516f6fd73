//! Settings for one statement alone: it runs in a session of its own that has the state of its client's, and these
//! settings on top.
//!
//! Setting them in the client's session and taking them back would show them to whatever else runs there, at this
//! broker or another one, and leave them behind if the broker or the driver died in between. So the state is copied as
//! for Spark Connect's own clones, and the copy goes when the result is read. It recovers like every session: the
//! settings are changes of its state.

use std::sync::Arc;
use std::time::Duration;

use berth_core::lineage::Class;
use berth_runtime::tasks::Tasks;
use uuid::Uuid;

use super::failure::Failure;
use super::opening::quoted;
use super::{plan, whole};
use crate::dialects::connect::inside::{Inside, class_of};

/// How long the copy lives that a broker leaves behind which dies.
const LIFETIME: Duration = Duration::from_secs(600);
/// How long closing it may take.
const CLOSE_DEADLINE: Duration = Duration::from_secs(60);

/// The session of one statement. It is closed when this is dropped.
#[derive(Debug)]
pub(super) struct Aside {
    of: Inside,
    pub(super) own: Inside,
    settings: Vec<(String, String)>,
    tasks: Tasks,
}

/// True of a plan that can run beside its session: what it changes is not the session's own state.
pub(super) fn can_run(plan: &[u8]) -> bool {
    class_of(plan).is_some_and(|class| class != Class::State)
}

impl Aside {
    /// One beside the session `of`, with these settings. Nothing is opened yet.
    pub(super) fn new(of: Inside, settings: Vec<(String, String)>, tasks: Tasks) -> Arc<Self> {
        let own = of.aside(Uuid::new_v4(), LIFETIME);
        Arc::new(Self {
            of,
            own,
            settings,
            tasks,
        })
    }

    /// Opens it with the state that its client's session has now.
    ///
    /// # Errors
    /// There is no place for it, or Spark refuses a setting.
    pub(super) async fn open(&self) -> Result<(), Failure> {
        self.of.copy_to(&self.own).await?;
        for (key, value) in &self.settings {
            let statement = format!("SET {}={}", quoted(key), quoted(value));
            whole::answer(&self.own, &plan::sql(&statement)).await?;
        }
        Ok(())
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        let own = self.own.clone();
        self.tasks.spawn_to_end("sql aside", CLOSE_DEADLINE, async move {
            if let Err(status) = own.close().await {
                tracing::warn!(session.id = %own.id(), %status, "a statement's own session was not closed; it ends when it is idle");
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_its_session_runs_in_it() {
        // kyuubi#25
        let table = [
            ("select 1", true),
            ("insert into t values (1)", true),
            ("create table t as select 1", true),
            ("set a=b", false),
            ("use d", false),
            ("create temporary view v as select 1", false),
        ];
        for (text, expected) in table {
            assert_eq!(can_run(&plan::sql(text)), expected, "{text}");
        }
    }
}
