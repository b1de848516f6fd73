//! What every Berth process needs and none decides: tasks and shutdown, clocks, TLS, listeners, telemetry.

pub mod admin;
pub mod auth;
pub mod certs;
pub mod clock;
pub mod listen;
pub mod tasks;
pub mod telemetry;
pub mod tls;
