//! The whole dialect against scripted drivers: what a client sees when things go well, and when drivers die.

mod client;
mod fakes;
mod loss;
mod replicas;
mod status;
mod stub;
mod surface;
