//! Agents with real Spark drivers. Need `BERTH_PYTHON`, a Python with PySpark 4; `make deps` makes one.
//!
//! One test runs at a time: each starts drivers, and their times are part of what is tested.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod broker;
mod node;

mod catalog;
mod life;
mod share;
mod statements;
