//! Resources that a session is given while it lives: jars, Python files and other files.

use serde::{Deserialize, Serialize};

use super::kind::Kind;
use super::refusal::Refusal;
use super::statement::Intent;
use super::task::Task;

/// Longest name of an uploaded file.
const MAX_NAME_BYTES: usize = 200;

/// What a resource is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum What {
    /// On the class path of the driver and the executors.
    Jar,
    /// On Python's path there.
    Pyfile,
    /// Given to all by `SparkFiles`.
    File,
}

impl What {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Jar => "jar",
            Self::Pyfile => "pyfile",
            Self::File => "file",
        }
    }

    /// The name of the part of an upload that has it.
    pub const fn part(self) -> &'static str {
        match self {
            Self::Jar => "jar",
            Self::Pyfile | Self::File => "file",
        }
    }
}

/// A resource; as JSON it is the code of the statement that adds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resource {
    /// What it is for.
    pub what: What,
    /// Where it comes from.
    #[serde(flatten)]
    pub source: Source,
}

/// Where a resource comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Source {
    /// From where the driver finds it itself.
    At {
        /// The place.
        uri: String,
    },
    /// From a client.
    Upload(Upload),
}

/// An uploaded file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upload {
    /// Its name, without any path.
    pub name: String,
    /// Hash of its content, hexadecimal.
    pub sha256: String,
    /// The blobs that make it up, in order.
    pub chunks: Vec<String>,
}

impl Resource {
    /// The intent to add it.
    pub fn intent(&self) -> Intent {
        Intent {
            kind: Kind::Pyspark,
            // Text and lists of text: this does not fail.
            code: serde_json::to_string(self).unwrap_or_default(),
            task: Task::Add,
            rows: None,
        }
    }

    /// The resource that an intent adds, if that is what it does.
    pub fn of(intent: &Intent) -> Option<Self> {
        (intent.task == Task::Add).then(|| serde_json::from_str(&intent.code).ok())?
    }

    /// The file that must be with the driver before it can be added.
    pub fn upload(self) -> Option<Upload> {
        match self.source {
            Source::Upload(upload) => Some(upload),
            Source::At { .. } => None,
        }
    }

    /// For a person.
    pub fn describe(&self) -> String {
        let name = match &self.source {
            Source::At { uri } => uri,
            Source::Upload(upload) => &upload.name,
        };
        format!("{} {name}", self.what.as_str())
    }
}

/// The name that an uploaded file gets: the last part of what its client called it, whatever separates parts there.
///
/// # Errors
/// [`Refusal::Malformed`] when nothing is left that can be a file's name.
pub fn safe_name(given: &str) -> Result<String, Refusal> {
    let name = given.rsplit(['/', '\\']).next().unwrap_or_default().trim();
    let fits = (1..=MAX_NAME_BYTES).contains(&name.len()) && !name.starts_with('.');
    // Spark takes commas for the ends of names, and reads escapes and fragments in them.
    let plain = !name.chars().any(|c| c.is_control() || ",%#?*:".contains(c));
    if fits && plain {
        return Ok(name.to_owned());
    }
    Err(Refusal::Malformed(format!(
        "'{given:.100}' is no name for an uploaded file: use up to {MAX_NAME_BYTES} letters, digits, '-', '_' or '.'"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i7_a_name_is_never_a_path() {
        let taken = [
            ("a.jar", "a.jar"),
            ("/home/ann/a b.py", "a b.py"),
            ("C:\\dir\\a.zip", "a.zip"),
            ("../../etc/passwd", "passwd"),
        ];
        for (given, name) in taken {
            assert_eq!(safe_name(given).as_deref(), Ok(name), "{given}");
        }
        for given in [
            "",
            ".",
            "..",
            "a/",
            "a/..",
            ".ssh",
            "a,b.py",
            "a%2fb",
            "a\nb",
            &"x".repeat(201),
        ] {
            assert!(safe_name(given).is_err(), "{given}");
        }
    }

    #[test]
    fn a_resource_is_read_back_from_its_intent() {
        let upload = Upload {
            name: "a.py".to_owned(),
            sha256: "00".to_owned(),
            chunks: vec!["11".to_owned()],
        };
        let uploaded = Resource {
            what: What::Pyfile,
            source: Source::Upload(upload.clone()),
        };
        assert_eq!(Resource::of(&uploaded.intent()), Some(uploaded.clone()));
        assert_eq!(uploaded.upload(), Some(upload));
        let named = Resource {
            what: What::Jar,
            source: Source::At {
                uri: "hdfs://nn/a.jar".to_owned(),
            },
        };
        assert_eq!(named.intent().code, r#"{"what":"jar","uri":"hdfs://nn/a.jar"}"#);
        assert_eq!(Resource::of(&named.intent()), Some(named));
    }
}
