//! Berth's own protobuf API and the projections of foreign protocols.

/// Berth's own API: sessions, nodes, drivers, brokers.
#[allow(
    missing_docs,
    clippy::all,
    unreachable_pub,
    reason = "generated; the documentation is in berth.proto"
)]
pub mod v1 {
    tonic::include_proto!("berth.v1");
}

/// The agent's API, for brokers only.
#[allow(
    missing_docs,
    clippy::all,
    unreachable_pub,
    reason = "generated; the documentation is in agent.proto"
)]
pub mod agent {
    tonic::include_proto!("berth.agent.v1");
}

/// Details of an agent's ABORTED answer for a statement whose driver was lost before it began: it surely did nothing.
pub const NEVER_BEGAN: &[u8] = b"never-began";

/// The file descriptors of [`v1`], for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/berth_descriptor.bin"));
