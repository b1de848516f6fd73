//! Checks that the configured Python and Java can run a driver, before anything is started.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::process::Command;

use super::launch::NO_SHARED_FIGURES;
use crate::AgentError;
use crate::config::AgentConfig;

/// What drivers run on.
#[derive(Debug, Clone)]
pub(crate) struct Installation {
    /// PySpark's own directory.
    pub(crate) pyspark: PathBuf,
    /// What `java -version` says.
    pub(crate) java: String,
}

/// PySpark's version and directory, then the modules of its Connect client that are missing.
const PROBE: &str = "
import importlib.util, os, pyspark
print(pyspark.__version__)
print(os.path.dirname(pyspark.__file__))
print(' '.join(name for name in ('grpc', 'pandas', 'pyarrow', 'google.protobuf') if importlib.util.find_spec(name) is None))
";

/// A probe that takes longer hangs.
const DEADLINE: Duration = Duration::from_secs(60);

/// Looks at the installation.
///
/// # Errors
/// [`AgentError::Preflight`], one line that says what to install or configure.
pub(crate) async fn preflight(config: &AgentConfig) -> Result<Installation, AgentError> {
    let pyspark = check_python(&config.python).await?;
    let java = check_java(config.java_home.as_deref()).await?;
    Ok(Installation { pyspark, java })
}

async fn check_python(python: &Path) -> Result<PathBuf, AgentError> {
    let shown = python.display();
    let said = run(Command::new(python).args(["-c", PROBE]))
        .await
        .map_err(|error| {
            AgentError::Preflight(format!(
                "{shown} cannot import pyspark ({error}): install it with '{shown} -m pip install \
             \"pyspark[connect]==4.3.0\"' or name another Python with --python"
            ))
        })?;
    let mut lines = said.lines();
    let (version, directory) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let missing = lines.next().unwrap_or_default();
    if !version.starts_with("4.") {
        return Err(AgentError::Preflight(format!(
            "{shown} has PySpark {version}, drivers need 4.x: install \"pyspark[connect]==4.3.0\" there"
        )));
    }
    if !missing.is_empty() {
        return Err(AgentError::Preflight(format!(
            "{shown} lacks {missing}: install \"pyspark[connect]=={version}\" there"
        )));
    }
    Ok(directory.into())
}

async fn check_java(home: Option<&Path>) -> Result<String, AgentError> {
    let home = home
        .map(Path::to_owned)
        .or_else(|| std::env::var_os("JAVA_HOME").map(PathBuf::from));
    let java = home.map_or_else(|| PathBuf::from("java"), |home| home.join("bin/java"));
    let said = run(Command::new(&java).args([NO_SHARED_FIGURES, "-version"])).await.map_err(|error| {
        AgentError::Preflight(format!(
            "{} cannot be run ({error}): install OpenJDK 17 (Debian: apt-get install openjdk-17-jre-headless) or set \
             agent.java-home",
            java.display()
        ))
    })?;
    match java_major(&said) {
        Some(17..) => Ok(said),
        _ => Err(AgentError::Preflight(format!(
            "Spark 4 needs Java 17 or newer, {} is: {}; set agent.java-home",
            java.display(),
            said.lines().next().unwrap_or_default()
        ))),
    }
}

fn java_major(said: &str) -> Option<u32> {
    let version = said.split('"').nth(1)?;
    version.split(['.', '-', '+']).next()?.parse().ok()
}

/// Runs a short command and gives what it printed.
async fn run(command: &mut Command) -> Result<String, String> {
    let output = tokio::time::timeout(DEADLINE, command.kill_on_drop(true).output());
    let output = output
        .await
        .map_err(|elapsed| elapsed.to_string())?
        .map_err(|error| error.to_string())?;
    let text = if output.stdout.is_empty() {
        &output.stderr
    } else {
        &output.stdout
    };
    let text = String::from_utf8_lossy(text).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    Err(text.lines().last().unwrap_or_default().to_owned())
}

impl Installation {
    /// Changes when the JVM or a jar does: what an archive of classes is valid for.
    pub(crate) fn fingerprint(&self) -> std::io::Result<String> {
        let mut jars = Vec::new();
        for entry in std::fs::read_dir(self.pyspark.join("jars"))? {
            let entry = entry?;
            let meta = entry.metadata()?;
            jars.push(format!(
                "{:?} {} {:?}",
                entry.file_name(),
                meta.len(),
                meta.modified()?
            ));
        }
        jars.sort();
        let mut hash = Sha256::new();
        hash.update(&self.java);
        hash.update(self.pyspark.as_os_str().as_encoded_bytes());
        jars.iter().for_each(|jar| hash.update(jar));
        Ok(hash
            .finalize()
            .iter()
            .take(8)
            .map(|byte| format!("{byte:02x}"))
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn java_versions_are_read() {
        assert_eq!(java_major("openjdk version \"17.0.15\" 2025-04-15"), Some(17));
        assert_eq!(java_major("openjdk version \"21\" 2023-09-19"), Some(21));
        assert_eq!(java_major("java version \"1.8.0_402\""), Some(1));
        assert_eq!(java_major("no java"), None);
    }

    #[tokio::test]
    async fn a_missing_python_is_one_line_that_says_what_to_do() {
        let config = AgentConfig::new("n".parse().unwrap(), "/s".into(), "/nowhere/python".into());
        let said = preflight(&config).await.unwrap_err().to_string();
        assert!(
            said.contains("/nowhere/python") && said.contains("pip install"),
            "{said}"
        );
        assert!(!said.contains('\n'), "{said}");
    }
}
