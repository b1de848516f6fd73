//! The two clocks that Berth reads.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Time since boot, suspended time included. Leases and fences are measured with it: a machine that was suspended
/// must find its lease expired.
pub fn boot_time() -> Duration {
    let now = nix::time::ClockId::CLOCK_BOOTTIME.now();
    // Linux has had this clock since 2.6.39; without it no fence could be trusted.
    let now = now.expect("CLOCK_BOOTTIME is readable");
    Duration::from(now)
}

/// Milliseconds since the Unix epoch, for records and people.
pub fn unix_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
