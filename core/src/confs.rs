//! Which Spark confs a client may give to the driver of its session.
//!
//! An allow-list over names in their one plain form: lists of what is forbidden have been walked around by aliases in
//! every gateway that had one (CVE-2017-7678, CVE-2023-46801 among them). What is left out here can be set by the
//! operator in a profile.

use std::collections::BTreeMap;

/// Names that may be given.
const NAMES: &[&str] = &[
    "spark.app.name",
    "spark.default.parallelism",
    "spark.driver.cores",
    "spark.driver.maxResultSize",
    "spark.driver.memory",
    "spark.driver.memoryOverhead",
    "spark.executor.cores",
    "spark.executor.instances",
    "spark.executor.memory",
    "spark.executor.memoryOverhead",
    "spark.io.compression.codec",
    "spark.kryoserializer.buffer",
    "spark.kryoserializer.buffer.max",
    "spark.memory.fraction",
    "spark.memory.storageFraction",
    "spark.network.timeout",
    "spark.python.worker.memory",
    "spark.python.worker.reuse",
    "spark.rdd.compress",
    "spark.reducer.maxSizeInFlight",
    "spark.task.cpus",
    "spark.task.maxFailures",
    "spark.yarn.queue",
];

/// Beginnings of names that may be given, unless [`CLOSED`] has a longer one.
const OPEN: &[&str] = &[
    "spark.dynamicAllocation.",
    "spark.locality.",
    "spark.scheduler.",
    "spark.shuffle.",
    "spark.speculation",
    "spark.sql.",
];

/// Beginnings of names that load code, move tables or reach what belongs to the node.
const CLOSED: &[&str] = &[
    "spark.shuffle.manager",
    "spark.shuffle.service.",
    "spark.shuffle.sort.io.plugin.class",
    "spark.scheduler.allocation.file",
    "spark.sql.artifact.",
    "spark.sql.cache.serializer",
    "spark.sql.catalog",
    "spark.sql.extensions",
    "spark.sql.hive.",
    "spark.sql.queryExecutionListeners",
    "spark.sql.sources.commitProtocolClass",
    "spark.sql.streaming.streamingQueryListeners",
    "spark.sql.warehouse.dir",
];

/// Memory beside the heap that Spark itself counts for a driver: a tenth, and not less than this.
const LEAST_OVERHEAD_BYTES: u64 = 384 << 20;

/// The names that may not be given, in order.
pub fn refused(confs: &BTreeMap<String, String>) -> Vec<&str> {
    let names = confs.keys().map(String::as_str);
    names.filter(|name| !is_open(name)).collect()
}

fn is_open(name: &str) -> bool {
    let plain = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    let begins = |list: &[&str]| list.iter().any(|beginning| name.starts_with(beginning));
    plain && !begins(CLOSED) && (NAMES.contains(&name) || begins(OPEN))
}

/// Bytes that a driver with this heap reserves on its node.
pub fn reservation(heap_bytes: u64) -> u64 {
    heap_bytes.saturating_add((heap_bytes / 10).max(LEAST_OVERHEAD_BYTES))
}

/// Bytes of a size as Spark writes it: "512m", "2g", "1048576".
pub fn size_bytes(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let shift = match unit {
        "" | "b" => 0,
        "k" | "kb" => 10,
        "m" | "mb" => 20,
        "g" | "gb" => 30,
        "t" | "tb" => 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i7_only_listed_confs_in_their_plain_form_are_taken() {
        let open = [
            "spark.driver.memory",
            "spark.sql.shuffle.partitions",
            "spark.sql.session.timeZone",
            "spark.dynamicAllocation.enabled",
        ];
        let closed = [
            "spark.driver.extraJavaOptions",
            "spark.driver.defaultJavaOptions",
            "spark.plugins",
            "spark.jars",
            "spark.submit.pyFiles",
            "spark.extraListeners",
            "spark.connect.authenticate.token",
            "spark.sql.extensions",
            "spark.sql.catalog.x",
            "spark.sql.catalogImplementation",
            "spark.master",
            "spark.driver.memory ",
            " spark.driver.memory",
            "spark.sql.\u{212a}",
            "livy.rsc.jars",
            "",
        ];
        for name in open {
            assert!(is_open(name), "{name}");
        }
        let confs = closed
            .iter()
            .map(|name| ((*name).to_owned(), String::new()))
            .collect();
        assert_eq!(refused(&confs).len(), closed.len());
    }

    #[test]
    fn sizes_are_read_as_spark_reads_them() {
        let cases = [
            ("1g", Some(1 << 30)),
            ("512M", Some(512 << 20)),
            ("10", Some(10)),
            ("1gb", Some(1 << 30)),
            ("g", None),
            ("1.5g", None),
            ("99999999999t", None),
        ];
        for (text, bytes) in cases {
            assert_eq!(size_bytes(text), bytes, "{text}");
        }
        assert_eq!(reservation(1 << 30), (1 << 30) + LEAST_OVERHEAD_BYTES);
        assert_eq!(reservation(10 << 30), 11 << 30);
    }
}
