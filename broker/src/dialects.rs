//! The protocols that clients speak.

pub mod connect;
pub mod hs2;
pub mod kyuubi;
pub mod livy;
pub mod sql;
