//! The conformance suite of the coordination store.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod conformance;
mod durability;
