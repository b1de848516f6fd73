//! What every Berth process needs and none decides: tasks and shutdown, clocks, TLS, telemetry.

pub mod certs;
pub mod clock;
pub mod tasks;
pub mod tls;
