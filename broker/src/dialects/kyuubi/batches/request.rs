//! The body of `POST batches`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use uuid::Uuid;

use super::super::refusal::Refusal;
use super::super::request::{text, texts, words};
use crate::dialects::livy::batches::origin::Type;
use crate::dialects::livy::batches::request::NewBatch as Submission;
use crate::dialects::livy::batches::{Batch, Uploads};
use crate::dialects::livy::files::FIELDS;
use crate::dialects::livy::request::NewSession;
use crate::dialects::livy::resource::Upload;

/// The conf that gives a batch its id.
const ID: &str = "kyuubi.batch.id";
/// The confs that name the user to act for; the first counts.
const PROXY: [&str; 2] = ["kyuubi.session.proxy.user", "hive.server2.proxy.user"];
/// Confs that clients send and that ask for nothing here.
const SILENT: [&str; 5] = [
    "kyuubi.client.",
    "kyuubi.batch.priority",
    "kyuubi.batch.resource.uploaded",
    "kyuubi.batch.impl.version",
    "hive.server2.",
];
/// Longest name.
const MAX_NAME_CHARS: usize = 200;

/// The body.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct NewBatch {
    #[serde(deserialize_with = "text")]
    batch_type: Option<String>,
    #[serde(deserialize_with = "text")]
    resource: Option<String>,
    #[serde(deserialize_with = "text")]
    class_name: Option<String>,
    #[serde(deserialize_with = "text")]
    name: Option<String>,
    #[serde(deserialize_with = "texts")]
    conf: BTreeMap<String, String>,
    #[serde(deserialize_with = "words")]
    args: Vec<String>,
    #[serde(deserialize_with = "texts")]
    extra_resources_map: BTreeMap<String, String>,
}

/// The files that came with a body in parts.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// What is run.
    pub(super) resource: Option<Upload>,
    /// The others, by the names of their parts.
    pub(super) extra: BTreeMap<String, Upload>,
}

/// A body that was looked through.
#[derive(Debug)]
pub(super) struct Asked {
    /// The id that the client chose.
    pub(super) id: Option<Uuid>,
    pub(super) kind: Type,
    pub(super) name: Option<String>,
    /// The user to act for.
    pub(super) proxy_user: Option<String>,
    /// What is not heeded.
    pub(super) notes: Vec<String>,
    pub(super) session: NewSession,
    pub(super) batch: Batch,
}

fn malformed(text: impl Into<String>) -> Refusal {
    Refusal::Malformed(text.into())
}

fn filled(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.trim().is_empty())
}

impl NewBatch {
    /// Looks it through. `open` are the directories of the nodes whose files may be named.
    ///
    /// # Errors
    /// What is missing or not to be had.
    pub(super) fn take(mut self, files: Files, open: &[PathBuf]) -> Result<Asked, Refusal> {
        let kind = kind(self.batch_type.as_deref().unwrap_or_default())?;
        let class_name = filled(self.class_name.take()).filter(|_| kind == Type::Spark);
        if kind == Type::Spark && class_name.is_none() {
            return Err(malformed("className is required for a batch of type SPARK"));
        }
        let id = self.conf.remove(ID).map(|id| read_id(&id)).transpose()?;
        let proxy_user = PROXY
            .map(|key| self.conf.remove(key))
            .into_iter()
            .flatten()
            .next();
        let name = self.take_name()?;
        let notes = self.take_others();
        let uploads = uploads(std::mem::take(&mut self.extra_resources_map), files)?;
        let named = filled(self.resource.take());
        if named.is_none() && uploads.file.is_none() {
            return Err(malformed(
                "resource is required: the file to run, or an upload named resourceFile",
            ));
        }
        let named = named.filter(|_| uploads.file.is_none());
        let submission = Submission::of(named, class_name, self.args, self.conf);
        let (session, batch) = submission.take(open)?;
        Ok(Asked {
            id,
            kind,
            name,
            proxy_user,
            notes,
            session,
            batch: Batch { uploads, ..batch },
        })
    }

    /// The name, wherever it is.
    fn take_name(&mut self) -> Result<Option<String>, Refusal> {
        let of_session = self.conf.remove("kyuubi.session.name");
        let of_application = self.conf.get("spark.app.name").cloned();
        let names = [self.name.take(), of_session, of_application];
        let name = names.into_iter().find_map(filled);
        match name.as_deref() {
            Some(name) if name.chars().count() > MAX_NAME_CHARS || name.chars().any(char::is_control) => {
                Err(malformed(format!(
                    "the name has a control character, or more than {MAX_NAME_CHARS} characters"
                )))
            }
            _ => Ok(name),
        }
    }

    /// Leaves Spark's confs alone; the others are named if they ask for something.
    fn take_others(&mut self) -> Vec<String> {
        let mut notes = Vec::new();
        self.conf.retain(|key, _| {
            let is_ours = key.starts_with("spark.") || key.starts_with("berth.batch.");
            if !is_ours && !SILENT.iter().any(|silent| key.starts_with(silent)) && key != "berth.profile" {
                notes.push(format!(
                    "WARN {key} has no meaning for a batch in Berth and is ignored"
                ));
            }
            is_ours || key == "berth.profile"
        });
        if let Some(profile) = self.conf.remove("berth.profile") {
            self.conf.insert("spark.berth.profile".to_owned(), profile);
        }
        notes
    }
}

fn kind(name: &str) -> Result<Type, Refusal> {
    Type::of(name.trim()).ok_or_else(|| {
        malformed(format!(
            "batchType '{name:.64}' is not supported; it can be SPARK or PYSPARK"
        ))
    })
}

fn read_id(text: &str) -> Result<Uuid, Refusal> {
    let wrong = |_no_uuid| malformed(format!("{ID} '{text:.64}' is not a UUID"));
    Uuid::try_parse(text.trim()).map_err(wrong)
}

/// The files that came, by the confs that have them.
fn uploads(map: BTreeMap<String, String>, mut files: Files) -> Result<Uploads, Refusal> {
    let mut lists = BTreeMap::new();
    let mut missing = Vec::new();
    for (conf, names) in map {
        if !FIELDS.contains(&conf.as_str()) {
            return Err(malformed(format!(
                "extraResourcesMap has {conf:.100}; files can be for {}",
                FIELDS.join(", ")
            )));
        }
        let mut list = Vec::new();
        for name in names.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            match files.extra.get(name) {
                Some(upload) => list.push(upload.clone()),
                None => missing.push(name.to_owned()),
            }
        }
        lists.insert(conf, list);
    }
    if !missing.is_empty() {
        return Err(malformed(format!(
            "files that extraResourcesMap names did not come with the request: {:.500}",
            missing.join(", ")
        )));
    }
    let file = files.resource.take();
    lists.retain(|_, list: &mut Vec<Upload>| !list.is_empty());
    Ok(Uploads { file, lists })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(text: &str) -> NewBatch {
        serde_json::from_str(text).unwrap()
    }

    fn upload(name: &str) -> Upload {
        Upload {
            name: name.to_owned(),
            sha256: "00".to_owned(),
            chunks: vec!["11".to_owned()],
        }
    }

    fn taken(text: &str) -> Result<Asked, Refusal> {
        body(text).take(Files::default(), &["/srv".into()])
    }

    #[test]
    fn a_batch_has_a_type_and_what_the_type_needs() {
        // kyuubi#48, kyuubi#49
        let asked = taken(
            r#"{"batchType": "spark", "resource": "hdfs://nn/a.jar", "className": "a.B", "args": ["1", 2], "whatever": 1,
                "conf": {"spark.executor.memory": "1g", "kyuubi.client.version": "1.10", "kyuubi.x": "y",
                         "kyuubi.session.name": "daily", "berth.profile": "big"}}"#,
        )
        .unwrap();
        assert_eq!((asked.kind, asked.name.as_deref()), (Type::Spark, Some("daily")));
        assert_eq!(asked.batch.args, ["1", "2"]);
        assert_eq!(asked.session.conf["spark.berth.profile"], "big");
        assert_eq!(asked.notes.len(), 1, "{:?}", asked.notes);
        let python = taken(r#"{"batchType": "PySpark", "resource": "/srv/a.py", "className": "x"}"#).unwrap();
        assert_eq!((python.kind, python.batch.class_name), (Type::Pyspark, None));
    }

    #[test]
    fn what_is_missing_is_named() {
        // kyuubi#50, kyuubi#51
        let cases = [
            (r#"{}"#, "batchType"),
            (
                r#"{"batchType": "FLINK", "resource": "hdfs://nn/a.jar"}"#,
                "FLINK",
            ),
            (
                r#"{"batchType": "SPARK", "resource": "hdfs://nn/a.jar"}"#,
                "className",
            ),
            (r#"{"batchType": "SPARK", "className": "a.B"}"#, "resource"),
            (
                r#"{"batchType": "PYSPARK", "resource": "/etc/passwd"}"#,
                "cannot be added",
            ),
            (
                r#"{"batchType": "PYSPARK", "resource": "/srv/a.py", "conf": {"kyuubi.batch.id": "7"}}"#,
                "is not a UUID",
            ),
            (
                r#"{"batchType": "PYSPARK", "resource": "/srv/a.py", "extraResourcesMap": {"spark.plugins": "a"}}"#,
                "spark.plugins",
            ),
        ];
        for (text, why) in cases {
            let refusal = taken(text).unwrap_err();
            assert!(matches!(refusal, Refusal::Malformed(_)), "{text}");
            assert!(refusal.to_string().contains(why), "{refusal}");
        }
    }

    #[test]
    fn files_that_came_are_in_the_lists_that_name_them() {
        // kyuubi#53, kyuubi#54
        let text = r#"{"batchType": "PYSPARK", "resource": "a.py", "extraResourcesMap": {"spark.files": "a.txt, b.txt"}}"#;
        let files = |names: &[&str]| Files {
            resource: Some(upload("a.py")),
            extra: names
                .iter()
                .map(|name| ((*name).to_owned(), upload(name)))
                .collect(),
        };
        let refusal = body(text).take(files(&["a.txt"]), &[]).unwrap_err().to_string();
        assert!(
            refusal.contains("b.txt") && !refusal.contains("a.txt"),
            "{refusal}"
        );
        let asked = body(text).take(files(&["a.txt", "b.txt"]), &[]).unwrap();
        let names: Vec<_> = asked.batch.uploads.lists["spark.files"]
            .iter()
            .map(|upload| &upload.name)
            .collect();
        assert_eq!(names, ["a.txt", "b.txt"]);
        assert_eq!(asked.batch.uploads.all().count(), 3);
    }
}
