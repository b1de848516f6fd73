//! What becomes of Spark's own confs in a session whose driver is there already.
//!
//! URLs carry what the driver of another server was started with. Most of it has no meaning here, and whoever moves over
//! is not kept out for it. But who asks for code, or for what is beyond the session, would miss it later, and is told at
//! once.

use std::collections::BTreeMap;

use berth_core::confs;

/// What becomes of a conf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is set on the session.
    Set,
    /// It has no meaning, which the session's log says.
    Ignored,
    /// The session is refused.
    Refused,
}

/// Beginnings of names that are about the catalog of tables, which the profile has decided.
const DECIDED: [&str; 2] = ["spark.sql.catalogImplementation", "spark.sql.hive."];

/// Parts of names, in small letters, whose confs load code into the driver or its executors.
const CODE: [&str; 15] = [
    "jars",
    "packages",
    "extension",
    "plugin",
    "class",
    "javaoptions",
    "librarypath",
    "pyfiles",
    "archive",
    "listener",
    "registrator",
    "serializer",
    "shuffle.manager",
    "allocation.file",
    "pyspark.",
];

/// Beginnings of names that give the driver files, variables or credentials, or that are about who reaches it.
const OUTSIDE: [&str; 13] = [
    "spark.authenticate",
    "spark.connect.",
    "spark.executorEnv.",
    "spark.files",
    "spark.kerberos.",
    "spark.kubernetes.driverEnv.",
    "spark.local.dir",
    "spark.metrics.",
    "spark.security.",
    "spark.sql.hive.metastore.",
    "spark.ssl.",
    "spark.yarn.appMasterEnv.",
    "spark.yarn.dist.",
];

/// Names that have such a part or beginning, and none of that.
const HARMLESS: [&str; 5] = [
    "spark.files.",
    "spark.kryoserializer.buffer",
    "spark.metrics.namespace",
    "spark.python.worker.",
    "spark.serializer.objectStreamReset",
];

/// Decides about a conf by its name.
pub(super) fn fate(key: &str) -> Fate {
    let is_plain = key
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    let is_open = confs::refused(&BTreeMap::from([(key.to_owned(), String::new())])).is_empty();
    match key.starts_with("spark.sql.") {
        true if is_open => Fate::Set,
        true if is_plain && begins(key, &DECIDED) && !is_dangerous(key) => Fate::Ignored,
        false if is_open || (is_plain && !is_dangerous(key)) => Fate::Ignored,
        true | false => Fate::Refused,
    }
}

fn begins(key: &str, beginnings: &[&str]) -> bool {
    beginnings.iter().any(|beginning| key.starts_with(beginning))
}

fn is_dangerous(key: &str) -> bool {
    if begins(key, &HARMLESS) {
        return false;
    }
    let small = key.to_ascii_lowercase();
    begins(key, &OUTSIDE) || CODE.iter().any(|part| small.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i7_what_loads_code_is_refused_and_what_has_no_meaning_is_ignored() {
        // hs2#17, hs2#18
        let set = [
            "spark.sql.shuffle.partitions",
            "spark.sql.ansi.enabled",
            "spark.sql.session.timeZone",
        ];
        let ignored = [
            "spark.master",
            "spark.submit.deployMode",
            "spark.app.name",
            "spark.driver.memory",
            "spark.driver.host",
            "spark.driver.maxResultSize",
            "spark.dynamicAllocation.enabled",
            "spark.eventLog.dir",
            "spark.eventLog.enabled",
            "spark.executor.heartbeatInterval",
            "spark.executor.memory",
            "spark.files.overwrite",
            "spark.hadoop.fs.s3a.endpoint",
            "spark.hadoop.hive.exec.dynamic.partition.mode",
            "spark.history.fs.logDirectory",
            "spark.kryoserializer.buffer.max",
            "spark.kubernetes.namespace",
            "spark.kubernetes.container.image",
            "spark.locality.wait",
            "spark.network.timeout",
            "spark.port.maxRetries",
            "spark.rpc.message.maxSize",
            "spark.sql.catalogImplementation",
            "spark.sql.hive.convertMetastoreParquet",
            "spark.sql.hive.verifyPartitionPath",
            "spark.ui.enabled",
            "spark.ui.port",
            "spark.yarn.queue",
            "spark.yarn.tags",
        ];
        let refused = [
            "spark.jars",
            "spark.jars.packages",
            "spark.jars.ivy",
            "spark.archives",
            "spark.files",
            "spark.submit.pyFiles",
            "spark.plugins",
            "spark.extraListeners",
            "spark.driver.extraClassPath",
            "spark.executor.extraClassPath",
            "spark.driver.userClassPathFirst",
            "spark.driver.extraJavaOptions",
            "spark.executor.defaultJavaOptions",
            "spark.driver.extraLibraryPath",
            "spark.kryo.registrator",
            "spark.kryo.classesToRegister",
            "spark.serializer",
            "spark.shuffle.manager",
            "spark.shuffle.sort.io.plugin.class",
            "spark.scheduler.allocation.file",
            "spark.pyspark.python",
            "spark.yarn.jars",
            "spark.yarn.archive",
            "spark.yarn.dist.files",
            "spark.yarn.appMasterEnv.PYTHONPATH",
            "spark.executorEnv.LD_PRELOAD",
            "spark.kubernetes.driverEnv.X",
            "spark.connect.authenticate.token",
            "spark.connect.extensions.relation.classes",
            "spark.authenticate.secret",
            "spark.metrics.conf",
            "spark.local.dir",
            "spark.sql.extensions",
            "spark.sql.catalog.x",
            "spark.sql.warehouse.dir",
            "spark.sql.hive.metastore.jars",
            "spark.sql.hive.metastore.version",
            "spark.sql.queryExecutionListeners",
            "spark.master ",
            "spark.ui.\u{212a}",
        ];
        let cases = [
            (&set[..], Fate::Set),
            (&ignored, Fate::Ignored),
            (&refused, Fate::Refused),
        ];
        for (keys, expected) in cases {
            for key in keys {
                assert_eq!(fate(key), expected, "{key}");
            }
        }
    }
}
