//! The body of `POST /batches`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use berth_core::batch::OnNodeLoss;
use serde::Deserialize;

use super::Batch;
use crate::dialects::livy::files;
use crate::dialects::livy::lenient::{list, number, text, texts};
use crate::dialects::livy::paths::resolve;
use crate::dialects::livy::refusal::Refusal;
use crate::dialects::livy::request::{NewSession, is_name};

/// Confs that say what is done when the place of a batch is lost.
const ON_NODE_LOSS: [&str; 2] = ["spark.berth.batch.on-node-loss", "berth.batch.on-node-loss"];

/// The body. What sessions have and batches do not is refused, as by Livy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct NewBatch {
    #[serde(skip)]
    is_uploaded: bool,
    #[serde(deserialize_with = "text")]
    file: Option<String>,
    #[serde(deserialize_with = "text")]
    class_name: Option<String>,
    #[serde(deserialize_with = "list")]
    args: Vec<String>,
    #[serde(deserialize_with = "text")]
    proxy_user: Option<String>,
    #[serde(deserialize_with = "list")]
    jars: Vec<String>,
    #[serde(deserialize_with = "list")]
    py_files: Vec<String>,
    #[serde(deserialize_with = "list")]
    files: Vec<String>,
    #[serde(deserialize_with = "list")]
    archives: Vec<String>,
    #[serde(deserialize_with = "text")]
    driver_memory: Option<String>,
    #[serde(deserialize_with = "number")]
    driver_cores: Option<u32>,
    #[serde(deserialize_with = "text")]
    executor_memory: Option<String>,
    #[serde(deserialize_with = "number")]
    executor_cores: Option<u32>,
    #[serde(deserialize_with = "number")]
    num_executors: Option<u32>,
    #[serde(deserialize_with = "text")]
    queue: Option<String>,
    #[serde(deserialize_with = "text")]
    name: Option<String>,
    #[serde(deserialize_with = "texts")]
    conf: BTreeMap<String, String>,
}

impl NewBatch {
    /// One that came in another form: a file, or none where it was uploaded.
    pub(crate) fn of(
        file: Option<String>,
        class_name: Option<String>,
        args: Vec<String>,
        conf: BTreeMap<String, String>,
    ) -> Self {
        Self {
            is_uploaded: file.is_none(),
            file,
            class_name,
            args,
            conf,
            ..Self::default()
        }
    }

    /// The batch, checked, beside what it has in common with a session. `open` are the node's directories whose files
    /// may be named.
    ///
    /// # Errors
    /// [`Refusal::Rejected`] that names the field.
    pub fn take(mut self, open: &[PathBuf]) -> Result<(NewSession, Batch), Refusal> {
        let file = self.file.as_deref().filter(|file| !file.is_empty());
        let missing = || Refusal::Rejected("requirement failed: File is required.".to_owned());
        let file = match (file, self.is_uploaded) {
            (Some(file), _) => resolve(file, open)?,
            (None, true) => String::new(),
            (None, false) => return Err(missing()),
        };
        let batch = Batch {
            file,
            on_node_loss: on_node_loss(&mut self.conf)?,
            args: check_args(self.args)?,
            class_name: self.class_name.filter(|name| !name.is_empty()),
            ..Batch::default()
        };
        if let Some(name) = self.name.as_deref().filter(|name| !is_name(name)) {
            return Err(Refusal::Rejected(format!("Invalid session name: {name:.64}")));
        }
        let mut session = NewSession {
            proxy_user: self.proxy_user,
            jars: self.jars,
            py_files: self.py_files,
            files: self.files,
            archives: self.archives,
            driver_memory: self.driver_memory,
            driver_cores: self.driver_cores,
            executor_memory: self.executor_memory,
            executor_cores: self.executor_cores,
            num_executors: self.num_executors,
            queue: self.queue,
            name: self.name,
            conf: self.conf,
            ..NewSession::default()
        };
        take_lists(&mut session, open)?;
        Ok((session, batch))
    }
}

/// Puts the lists of the confs behind those of the fields, with every path looked through.
fn take_lists(session: &mut NewSession, open: &[PathBuf]) -> Result<(), Refusal> {
    let given = files::given(session, open)?;
    let lists = [
        &mut session.jars,
        &mut session.py_files,
        &mut session.files,
        &mut session.archives,
    ];
    for (name, list) in files::FIELDS.into_iter().zip(lists) {
        session.conf.remove(name);
        let paths = given.files.get(name).map(|paths| paths.split(','));
        *list = paths.into_iter().flatten().map(str::to_owned).collect();
    }
    Ok(())
}

/// The words of a command cannot hold a NUL.
fn check_args(args: Vec<String>) -> Result<Vec<String>, Refusal> {
    match args.iter().position(|arg| arg.contains('\0')) {
        Some(at) => Err(Refusal::Rejected(format!(
            "args[{at}] has a NUL character, which no process can be given"
        ))),
        None => Ok(args),
    }
}

fn on_node_loss(conf: &mut BTreeMap<String, String>) -> Result<OnNodeLoss, Refusal> {
    let mut asked = OnNodeLoss::default();
    for name in ON_NODE_LOSS {
        asked = match conf.remove(name).as_deref() {
            None => continue,
            Some("dead") => OnNodeLoss::Dead,
            Some("rerun") => OnNodeLoss::Rerun,
            Some(other) => {
                return Err(Refusal::Rejected(format!(
                    "{name} is '{other:.64}'; it can be dead or rerun"
                )));
            }
        };
    }
    Ok(asked)
}
