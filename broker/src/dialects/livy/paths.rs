//! Where the files of a request may be: Livy's rules for `file`, `jars`, `pyFiles`, `files`, `archives` and `add-*`.
//!
//! What lies in a file system of the cluster is taken as it is named. What lies on the node is taken only below a
//! directory that the operator has opened with `broker.livy.local-dirs`; symbolic links there are the operator's to
//! watch. Code in a driver can read what its process can: this keeps Berth from handing files out by mistake, the
//! process's own rights are the wall.

use std::path::{Component, Path, PathBuf};

use super::refusal::Refusal;

/// Longest path.
const MAX_BYTES: usize = 4096;
/// Schemes of files on the node itself.
const LOCAL: [&str; 2] = ["file", "local"];

/// The path as Spark is given it: with a scheme, or absolute on the node with `.` and `..` resolved. A fragment stays.
///
/// # Errors
/// [`Refusal::Rejected`] in Livy's words for a relative path and for one on the node that is not open.
pub fn resolve(path: &str, open: &[PathBuf]) -> Result<String, Refusal> {
    check_text(path)?;
    let (scheme, rest) = match scheme_of(path) {
        Some(scheme) if !LOCAL.contains(&scheme.to_ascii_lowercase().as_str()) => {
            return Ok(path.to_owned());
        }
        Some(scheme) => (scheme, &path[scheme.len() + 1..]),
        None => ("", path),
    };
    let (rest, fragment) = match rest.split_once('#') {
        Some((rest, fragment)) => (rest, Some(fragment)),
        None => (rest, None),
    };
    let absolute = without_authority(path, rest)?;
    let normal = normal(absolute);
    if !open.iter().any(|directory| normal.starts_with(directory)) {
        return Err(refused(&format!(
            "Local path {} cannot be added to user sessions; broker.livy.local-dirs lists what can",
            normal.display()
        )));
    }
    let mut resolved = normal.display().to_string();
    if scheme.eq_ignore_ascii_case("local") {
        resolved.insert_str(0, "local:");
    }
    if let Some(fragment) = fragment {
        resolved.push('#');
        resolved.push_str(fragment);
    }
    Ok(resolved)
}

/// Every path of a list.
///
/// # Errors
/// As [`resolve`], for the first that is not taken.
pub fn resolve_all(paths: &[String], open: &[PathBuf]) -> Result<Vec<String>, Refusal> {
    paths.iter().map(|path| resolve(path, open)).collect()
}

/// Spark joins lists with commas, so a path with one would be two, and the second unseen.
fn check_text(path: &str) -> Result<(), Refusal> {
    let wrong = path.len() > MAX_BYTES || path.contains(',') || path.chars().any(char::is_control);
    if wrong {
        return Err(refused(&format!(
            "Path '{path:.100}' has a comma or control character, or more than {MAX_BYTES} bytes"
        )));
    }
    Ok(())
}

/// The scheme of a URI (RFC 3986, 3.1).
fn scheme_of(path: &str) -> Option<&str> {
    let (scheme, _) = path.split_once(':')?;
    let mut letters = scheme.chars();
    let first = letters.next()?;
    let rest = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    (first.is_ascii_alphabetic() && letters.all(rest)).then_some(scheme)
}

/// The path after an empty authority. Escapes and queries are refused: Spark would read another path than this does.
fn without_authority<'a>(path: &str, rest: &'a str) -> Result<&'a str, Refusal> {
    let absolute = match rest.strip_prefix("//") {
        Some(after) if after.starts_with('/') => after,
        // A host, or a path that begins with two slashes.
        Some(_) => return Err(refused(&format!("Path '{path:.100}' names a host"))),
        None => rest,
    };
    if !absolute.starts_with('/') {
        return Err(refused(&format!("Path '{path:.100}' is not absolute.")));
    }
    if absolute.contains(['%', '?', '\\']) {
        return Err(refused(&format!(
            "Local path '{path:.100}' has a percent sign, question mark or backslash"
        )));
    }
    Ok(absolute)
}

fn normal(absolute: &str) -> PathBuf {
    let mut normal = PathBuf::from("/");
    for part in Path::new(absolute).components() {
        match part {
            Component::Normal(name) => normal.push(name),
            Component::ParentDir => drop(normal.pop()),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    normal
}

fn refused(why: &str) -> Refusal {
    Refusal::Rejected(format!("requirement failed: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(path: &str) -> Result<String, Refusal> {
        resolve(path, &["/srv/jobs".into(), "/opt/jars/".into()])
    }

    #[test]
    fn what_is_in_the_cluster_or_open_is_taken() {
        // livy#39
        let taken = [
            ("hdfs://nn/a/../b.py", "hdfs://nn/a/../b.py"),
            ("s3a://bucket/a%20b.jar#c", "s3a://bucket/a%20b.jar#c"),
            ("/srv/jobs/a b.py", "/srv/jobs/a b.py"),
            ("/srv/jobs/./x/../pi.py", "/srv/jobs/pi.py"),
            ("file:/srv/jobs/pi.py", "/srv/jobs/pi.py"),
            ("file:///opt/jars/a.zip#a", "/opt/jars/a.zip#a"),
            ("FILE:/opt/jars/a.jar", "/opt/jars/a.jar"),
            ("local:/opt/jars/a.jar", "local:/opt/jars/a.jar"),
        ];
        for (path, expected) in taken {
            assert_eq!(resolved(path).as_deref(), Ok(expected), "{path}");
        }
    }

    #[test]
    fn i7_nothing_else_on_the_node_is_reached() {
        // livy#39
        let refused = [
            ("pi.py", "is not absolute"),
            ("", "is not absolute"),
            ("file:pi.py", "is not absolute"),
            ("/etc/passwd", "cannot be added to user sessions"),
            ("file:/etc/passwd", "cannot be added to user sessions"),
            ("/srv/jobsx/a.py", "cannot be added to user sessions"),
            ("/srv/jobs/../../etc/passwd", "cannot be added to user sessions"),
            (
                "file:/etc/passwd#/../srv/jobs/x",
                "cannot be added to user sessions",
            ),
            ("file:/srv/jobs/%2e%2e/%2e%2e/etc/passwd", "percent sign"),
            ("file:/etc/passwd?/../../srv/jobs/x", "question mark"),
            ("file://host/srv/jobs/a.py", "names a host"),
            ("//srv/jobs/a.py", "names a host"),
            ("hdfs://nn/a.jar,file:/etc/passwd", "comma"),
            ("/srv/jobs/a\nb", "control character"),
        ];
        for (path, why) in refused {
            let error = resolved(path).unwrap_err().to_string();
            assert!(error.contains(why), "{path}: {error}");
            assert!(
                error.starts_with("Rejected, Reason: requirement failed: "),
                "{error}"
            );
        }
        assert!(resolve("/srv/jobs/a.py", &[]).is_err());
    }
}
