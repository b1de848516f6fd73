//! The files of a new session: the lists of its request, and the confs that mean the same.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::paths;
use super::refusal::Refusal;
use super::request::NewSession;

/// The confs that mean the same as the fields `jars`, `pyFiles`, `files` and `archives`, in this order. Livy's own conf
/// for archives does nothing outside YARN; this one is for every master.
pub const FIELDS: [&str; 4] = [
    "spark.jars",
    "spark.submit.pyFiles",
    "spark.files",
    "spark.archives",
];
/// Lists of files for YARN alone. They have no field of their own.
const YARN: [&str; 3] = [
    "spark.yarn.dist.archives",
    "spark.yarn.dist.files",
    "spark.yarn.dist.jars",
];
/// Confs of Livy's own clients, which send them along with Spark's.
const LIVY: &str = "livy.";

/// What a driver is started with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Given {
    /// Confs as the client gave them, without lists of files; not looked through yet.
    pub confs: BTreeMap<String, String>,
    /// Lists of files, with every path looked through.
    pub files: BTreeMap<String, String>,
}

/// Takes a request's confs apart. `open` are the directories of the nodes whose files may be named.
///
/// # Errors
/// [`Refusal::Rejected`] for a path that is not taken.
pub fn given(request: &NewSession, open: &[PathBuf]) -> Result<Given, Refusal> {
    let mut confs = request.spark_conf();
    confs.retain(|name, _| !name.starts_with(LIVY));
    let asked = [
        &request.jars,
        &request.py_files,
        &request.files,
        &request.archives,
    ];
    let fields = FIELDS.into_iter().zip(asked.map(Vec::as_slice));
    let lists = fields.chain(YARN.map(|name| (name, [].as_slice())));
    let mut files = BTreeMap::new();
    for (name, asked) in lists {
        let conf = confs.remove(name).unwrap_or_default();
        let named = conf.split(',').map(str::trim).filter(|path| !path.is_empty());
        // Those of the request come first, as in Livy.
        let all: Vec<String> = asked.iter().cloned().chain(named.map(str::to_owned)).collect();
        if !all.is_empty() {
            files.insert(name.to_owned(), paths::resolve_all(&all, open)?.join(","));
        }
    }
    Ok(Given { confs, files })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(body: &str) -> NewSession {
        super::super::request::read(body.as_bytes()).unwrap()
    }

    #[test]
    fn lists_of_the_request_come_before_those_of_its_conf() {
        let asked = request(
            r#"{"jars":["hdfs://nn/a.jar"],"pyFiles":["/srv/x/../b.py"],"archives":["s3a://c/d.zip#d"],
                "conf":{"spark.jars":"hdfs://nn/b.jar, hdfs://nn/c.jar","spark.sql.x":"1","livy.uri":"http://l"}}"#,
        );
        let given = given(&asked, &["/srv".into()]).unwrap();
        let files = [
            ("spark.archives", "s3a://c/d.zip#d"),
            ("spark.jars", "hdfs://nn/a.jar,hdfs://nn/b.jar,hdfs://nn/c.jar"),
            ("spark.submit.pyFiles", "/srv/b.py"),
        ];
        let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        assert_eq!(given.files, files.map(own).into());
        assert_eq!(given.confs, [("spark.sql.x", "1")].map(own).into());
    }

    #[test]
    fn i7_no_list_reaches_what_is_not_open() {
        // livy#39
        for body in [
            r#"{"jars":["a.jar"]}"#,
            r#"{"files":["/etc/passwd"]}"#,
            r#"{"conf":{"spark.files":"hdfs://nn/a,file:/etc/passwd"}}"#,
            r#"{"conf":{"spark.yarn.dist.files":"/srv/../etc/passwd"}}"#,
        ] {
            let refused = given(&request(body), &["/srv".into()]);
            assert!(matches!(refused, Err(Refusal::Rejected(_))), "{body}");
        }
    }
}
