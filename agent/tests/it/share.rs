//! Drivers that sessions share.

use std::time::Duration;

use berth_agent::{ProfileConfig, Share};
use tonic::Code;

use crate::broker::session;
use crate::node::{Node, cold, is_alive};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_share_a_driver_and_leave_it_one_by_one() {
    let shared = ProfileConfig {
        share: Share::Tenant,
        ..cold()
    };
    let node = Node::new(shared).await;
    let (agent, broker) = node.start().await;
    let (one, two) = (session(1), session(2));
    let (first, second) = tokio::join!(broker.reserve(one, 1, "k"), broker.reserve(two, 1, "k"));
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!(first.driver_id, second.driver_id);
    let refused = broker.start(one, "0", "pyspark", "1").await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);

    broker.fence(one, 2, true).await;
    assert_eq!(
        broker.locate(one, 1).await.unwrap_err().code(),
        Code::FailedPrecondition
    );
    assert_eq!(broker.locate(two, 1).await.unwrap(), second);
    broker.fence(two, 2, true).await;
    assert!(!is_alive(second.pid));
    agent.stop(Duration::from_secs(2)).await;
}
