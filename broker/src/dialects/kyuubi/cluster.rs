//! What the dialect asks of the rest of the broker: which drivers and brokers there are.

use async_trait::async_trait;
use berth_core::record::SessionRecord;
use berth_core::share::Level;
use berth_proto::v1;
use berth_proto::v1::berth_server::Berth;
use tonic::{Request, Status};

use super::refusal::Refusal;
use crate::native::Native;

/// The cluster, as operators see it.
#[async_trait]
pub(crate) trait Cluster: Send + Sync + std::fmt::Debug {
    /// The drivers of all nodes.
    async fn drivers(&self) -> Result<Vec<v1::Driver>, Refusal>;
    /// The brokers that hold their lease.
    async fn brokers(&self) -> Result<Vec<v1::Broker>, Refusal>;
    /// The sessions and batches that are not over, of all dialects.
    async fn sessions(&self) -> Result<Vec<SessionRecord>, Refusal>;
    /// How widely a node offers to share drivers of a profile.
    fn share(&self, node: &str, profile: &str) -> Level;
    /// Ends a session.
    async fn close(&self, session: &str) -> Result<(), Refusal>;
}

fn refused(status: &Status) -> Refusal {
    match status.code() {
        tonic::Code::NotFound => Refusal::NotFound(status.message().to_owned()),
        _ => Refusal::Unavailable(status.message().to_owned()),
    }
}

#[async_trait]
impl Cluster for Native {
    async fn drivers(&self) -> Result<Vec<v1::Driver>, Refusal> {
        let listed = self.list_drivers(Request::new(v1::ListDriversRequest {})).await;
        Ok(listed.map_err(|status| refused(&status))?.into_inner().drivers)
    }

    async fn brokers(&self) -> Result<Vec<v1::Broker>, Refusal> {
        let listed = self.list_brokers(Request::new(v1::ListBrokersRequest {})).await;
        Ok(listed.map_err(|status| refused(&status))?.into_inner().brokers)
    }

    async fn sessions(&self) -> Result<Vec<SessionRecord>, Refusal> {
        self.open_records().await.map_err(|status| refused(&status))
    }

    fn share(&self, node: &str, profile: &str) -> Level {
        self.offered_share(node, profile)
    }

    async fn close(&self, session: &str) -> Result<(), Refusal> {
        let request = v1::CloseSessionRequest {
            id: session.to_owned(),
        };
        let closed = self.close_session(Request::new(request)).await;
        closed.map(drop).map_err(|status| refused(&status))
    }
}
