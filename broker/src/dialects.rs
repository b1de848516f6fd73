//! The protocols that clients speak.

pub mod connect;
pub mod livy;
