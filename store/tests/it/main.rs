//! The conformance suite of the coordination store, and what is built on it, over both implementations.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod access;
mod blobs;
mod conformance;
mod durability;
mod election;
mod faults;
mod follow;
mod lease;
mod model;
mod support;
