//! Stateless front replica: dialects, routing, recovery, leader duties

pub mod dialects;
