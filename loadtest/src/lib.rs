//! Load generator with stub and real drivers; side-by-side benchmarks.
//!
//! Every benchmark runs what it compares in turns, in one process on one machine, and prints the figures with the
//! machine, the commit and the parameters they belong to. The load is open loop: a request is due at its time
//! whether or not earlier ones were answered, and its latency counts from when it was due.

pub mod bench;
pub mod client;
pub mod codec;
pub mod machine;
pub mod messages;
pub mod pace;
pub mod report;
pub mod rest;
pub mod stub;
pub mod target;
