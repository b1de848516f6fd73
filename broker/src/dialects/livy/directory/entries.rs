//! Where in the store the entries of a kind of resource are, and what leads to them.

use berth_core::keys;

use super::Resource;
use crate::dialects::livy::listed::Keyed;

impl Resource {
    /// Dialect part of the keys of entries; the number follows, zero-padded so that key order is creation order.
    pub(super) const fn ids(self) -> &'static str {
        match self {
            Self::Sessions => "livy",
            Self::Batches => "livy-batch",
        }
    }

    /// Dialect part of the keys of names.
    pub(super) const fn names(self) -> &'static str {
        match self {
            Self::Sessions => "livy-name",
            Self::Batches => "livy-batch-name",
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
        }
    }

    pub(super) fn key_key(self, key: &Keyed) -> String {
        keys::alias(self.keys(), &key.id.simple().to_string())
    }

    pub(super) fn counter_key(self) -> String {
        let counter = match self {
            Self::Sessions => "livy-counter",
            Self::Batches => "livy-batch-counter",
        };
        keys::alias(counter, "next")
    }
}
