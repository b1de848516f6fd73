//! Where in the store the entries of a kind of resource are, and what leads to them.

use berth_core::keys;
use uuid::Uuid;

use super::Resource;

impl Resource {
    /// Dialect part of the keys of entries; the number follows, zero-padded so that key order is creation order.
    pub(super) const fn ids(self) -> &'static str {
        match self {
            Self::Sessions => "livy",
            Self::Batches => "livy-batch",
            Self::KyuubiBatches => "kyuubi-batch",
        }
    }

    /// Dialect part of the keys of names.
    pub(super) const fn names(self) -> &'static str {
        match self {
            Self::Sessions => "livy-name",
            Self::Batches => "livy-batch-name",
            Self::KyuubiBatches => "kyuubi-batch-name",
        }
    }

    pub(super) fn id_key(self, number: u32) -> String {
        keys::alias(self.ids(), &format!("{number:010}"))
    }

    pub(super) fn name_key(self, name: &str) -> String {
        keys::alias(self.names(), name)
    }

    /// Dialect part of the keys of idempotency keys.
    pub(super) const fn keys(self) -> &'static str {
        match self {
            Self::Sessions => "livy-key",
            Self::Batches => "livy-batch-key",
            Self::KyuubiBatches => "kyuubi-batch-key",
        }
    }

    pub(super) fn key_key(self, key: Uuid) -> String {
        keys::alias(self.keys(), &key.simple().to_string())
    }

    /// Where it is kept how far the log of a batch was read, for clients that only ask for more.
    pub(super) fn read_key(self, number: u32) -> String {
        let read = match self {
            Self::Sessions => "livy-read",
            Self::Batches => "livy-batch-read",
            Self::KyuubiBatches => "kyuubi-batch-read",
        };
        keys::alias(read, &format!("{number:010}"))
    }

    pub(super) fn counter_key(self) -> String {
        let counter = match self {
            Self::Sessions => "livy-counter",
            Self::Batches => "livy-batch-counter",
            Self::KyuubiBatches => "kyuubi-batch-counter",
        };
        keys::alias(counter, "next")
    }
}
