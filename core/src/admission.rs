//! Whether a tenant may open one more session (I5).

use serde::{Deserialize, Serialize};

use crate::record::{FORMAT, UsageRecord};

/// What a tenant may have at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Limits {
    /// Open sessions.
    pub sessions: u64,
    /// Bytes that their drivers reserve together.
    pub memory_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sessions: 1_000,
            // No limit, as far as a configuration file can write it.
            memory_bytes: i64::MAX.unsigned_abs(),
        }
    }
}

/// The tenant's usage with the session, or the limit that it would exceed. The shell writes the usage in the same
/// transaction as the session, on condition that nobody changed it: replicas that race cannot exceed a limit.
///
/// # Errors
/// A sentence for the client.
pub fn admit(usage: Option<&UsageRecord>, limits: Limits, memory_bytes: u64) -> Result<UsageRecord, String> {
    let (sessions, memory) = usage.map_or((0, 0), |usage| (usage.sessions, usage.memory_bytes));
    if sessions >= limits.sessions {
        return Err(format!(
            "the tenant has {sessions} sessions and may have {}: close one first",
            limits.sessions
        ));
    }
    let memory = memory.saturating_add(memory_bytes);
    if memory > limits.memory_bytes {
        return Err(format!(
            "the tenant's sessions would reserve {memory} bytes and may reserve {}: close one first",
            limits.memory_bytes
        ));
    }
    Ok(UsageRecord {
        format: FORMAT,
        sessions: sessions + 1,
        memory_bytes: memory,
    })
}

/// The tenant's usage after a session has ended.
pub fn release(usage: &UsageRecord, memory_bytes: u64) -> UsageRecord {
    UsageRecord {
        format: FORMAT,
        sessions: usage.sessions.saturating_sub(1),
        memory_bytes: usage.memory_bytes.saturating_sub(memory_bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn i5_no_order_of_opens_and_closes_exceeds_a_limit(steps in proptest::collection::vec((any::<bool>(), 0u64..50), 0..100)) {
            let limits = Limits { sessions: 4, memory_bytes: 100 };
            let mut open = Vec::new();
            let mut usage: Option<UsageRecord> = None;
            for (opens, memory) in steps {
                if opens {
                    if let Ok(next) = admit(usage.as_ref(), limits, memory) {
                        usage = Some(next);
                        open.push(memory);
                    }
                } else if let Some(memory) = open.pop() {
                    usage = usage.as_ref().map(|usage| release(usage, memory));
                }
                prop_assert!(open.len() <= 4 && open.iter().sum::<u64>() <= 100);
                prop_assert_eq!(usage.as_ref().map_or(0, |usage| usage.sessions), open.len() as u64);
            }
        }
    }
}
