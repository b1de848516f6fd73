//! What every Berth process needs and none decides: tasks and shutdown, clocks, TLS, telemetry.

pub mod clock;
pub mod tasks;
