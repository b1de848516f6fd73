//! What the dialect asks of the rest of the broker: which drivers and brokers there are.

use async_trait::async_trait;
use berth_proto::v1;
use berth_proto::v1::berth_server::Berth;
use tonic::{Request, Status};

use super::refusal::Refusal;
use crate::native::Native;

/// Sessions that are read at once.
const PAGE: u32 = 1000;

/// The cluster, as operators see it.
#[async_trait]
pub(crate) trait Cluster: Send + Sync + std::fmt::Debug {
    /// The drivers of all nodes.
    async fn drivers(&self) -> Result<Vec<v1::Driver>, Refusal>;
    /// The brokers that hold their lease.
    async fn brokers(&self) -> Result<Vec<v1::Broker>, Refusal>;
    /// The sessions of a user that are not over, of all dialects.
    async fn sessions_of(&self, user: &str) -> Result<Vec<v1::Session>, Refusal>;
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

    async fn sessions_of(&self, user: &str) -> Result<Vec<v1::Session>, Refusal> {
        let (mut found, mut page_token) = (Vec::new(), String::new());
        loop {
            let request = v1::ListSessionsRequest {
                page_size: PAGE,
                page_token,
                ..v1::ListSessionsRequest::default()
            };
            let listed = self.list_sessions(Request::new(request)).await;
            let page = listed.map_err(|status| refused(&status))?.into_inner();
            found.extend(page.sessions.into_iter().filter(|session| session.owner == user));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok(found);
            }
        }
    }

    async fn close(&self, session: &str) -> Result<(), Refusal> {
        let request = v1::CloseSessionRequest {
            id: session.to_owned(),
        };
        let closed = self.close_session(Request::new(request)).await;
        closed.map(drop).map_err(|status| refused(&status))
    }
}
