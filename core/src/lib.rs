//! Pure decisions of Berth: no I/O, no clock, no network, no runtime.
//!
//! Every rule that makes Berth correct is a function in this crate. Time and randomness come in as arguments and
//! collections are ordered, so that a decision replays from its inputs. The shells (`broker`, `agent`) feed these
//! functions and carry out what they answer.
//!
//! The invariants I1-I8 are listed in [`invariants`], each with the rule here that keeps it.

pub mod admission;
pub mod batch;
pub mod confs;
pub mod connect;
pub mod duties;
pub mod ids;
pub mod invariants;
pub mod keys;
pub mod lineage;
pub mod placement;
pub mod record;
pub mod session;
pub mod share;
pub mod sql;
pub mod wire;
