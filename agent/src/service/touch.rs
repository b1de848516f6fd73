//! Calls of clients that brokers tell of: a session lives by them although nothing reaches its driver.

use std::time::Duration;

use berth_proto::agent as api;
use tonic::Status;

use super::{AgentService, session_epoch};

impl AgentService {
    pub(super) fn touched(&self, request: api::TouchRequest) -> Result<api::TouchReply, Status> {
        for touched in request.touched {
            let (session, epoch) = session_epoch(&touched.session_id, touched.epoch)?;
            // One that has moved is counted anew where it is now.
            if let Ok(Some((driver, _))) = self.drivers.find(session, epoch) {
                driver.touched(Duration::from_millis(touched.age_ms), touched.used);
            }
        }
        Ok(api::TouchReply {})
    }
}
