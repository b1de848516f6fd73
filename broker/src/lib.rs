//! Stateless front replica: dialects, routing, placement, recovery.
//!
//! [`sessions`] is the heart: it takes a session to a driver and back to another one after a loss. [`ledger`] keeps
//! what made the session's state, [`fleet`] and `tunnel` reach the agents. Rules are in `berth_core`.

pub mod app;
pub mod calls;
mod commit;
pub mod config;
pub mod dialects;
pub mod fleet;
mod leader;
pub mod ledger;
pub mod native;
mod place;
pub mod sessions;
mod table;
pub mod tunnel;

#[cfg(test)]
mod tests;
