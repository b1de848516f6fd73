//! A driver's life: start, tunnel, loss, adoption, fence.

use std::time::Duration;

use berth_agent::ProfileConfig;
use berth_proto::agent as api;
use berth_proto::agent::reserve_reply::refused::Reason;
use tokio::io::AsyncReadExt;
use tonic::Code;

use crate::broker::session;
use crate::node::{Node, cold, eventually, is_alive, kill};

const SETTINGS: u8 = 4;
const PATIENCE: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i1_a_driver_serves_is_adopted_and_ends_with_its_lease() {
    let node = Node::new(cold()).await;
    let (agent, broker) = node.start().await;
    let one = session(1);
    let endpoint = broker.reserve(one, 1, "").await.unwrap();
    assert_eq!(
        broker.reserve(one, 1, "").await.unwrap().driver_id,
        endpoint.driver_id
    );
    assert_eq!(
        broker.greet_through_tunnel(&endpoint.driver_id).await,
        Ok(SETTINGS)
    );
    let set = broker.run(one, "0", "pyspark", "x = 20").await;
    assert_eq!(set.state(), api::statement::State::Ok);

    // The next agent goes on where this one ended: same incarnation, same driver, same variables. Somebody holds a
    // tunnel, as brokers do, and the process would wait for it for longer than the drivers have.
    let open = broker.tunnel(&endpoint.driver_id).await;
    agent.leave(Duration::from_secs(10)).await;
    drop(open);
    drop(agent);
    let (agent, broker) = node.start().await;
    let located = broker.locate(one, 1).await.unwrap();
    assert_eq!(located, endpoint);
    assert_eq!(
        broker.greet_through_tunnel(&endpoint.driver_id).await,
        Ok(SETTINGS)
    );
    let added = broker.run(one, "1", "pyspark", "x + 1").await;
    assert_eq!(crate::broker::output(&added, "text/plain"), "21");
    assert_eq!(broker.get(one, "0", 0).await.unwrap(), set);

    // Without an agent nobody renews the fence: the JVM ends before the lease does, even beside code that never
    // lets go of the interpreter.
    let holds = "import re; re.match('(a+)+$', 'a' * 60 + 'b')";
    broker.start(one, "2", "pyspark", holds).await.unwrap();
    agent.leave(PATIENCE).await;
    drop(agent);
    eventually("the JVM is gone", Duration::from_secs(4), || async {
        !is_alive(endpoint.pid)
    })
    .await;
    let (agent, broker) = node.start().await;
    assert!(broker.drivers().await.is_empty());
    assert_eq!(broker.locate(one, 1).await.unwrap_err().code(), Code::NotFound);
    agent.stop(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i1_a_lost_driver_is_noticed_at_once_and_its_epoch_can_be_fenced() {
    let warm = ProfileConfig { warm: 1, ..cold() };
    let node = Node::new(warm).await;
    let (agent, broker) = node.start().await;
    let one = session(1);
    let endpoint = broker.reserve(one, 1, "").await.unwrap();
    let watched = broker.agent.clone().watch_load(api::WatchLoadRequest {}).await;
    let mut loads = watched.unwrap().into_inner();
    let (mut tunnel, _) = broker.tunnel(&endpoint.driver_id).await;

    kill(endpoint.pid);
    let mut rest = Vec::new();
    // However it is cut, it ends.
    let _how = tokio::time::timeout(Duration::from_secs(2), tunnel.read_to_end(&mut rest))
        .await
        .expect("the tunnel is cut");
    let lost = async {
        loop {
            let load = loads.message().await.unwrap().unwrap();
            if load.lost_drivers.contains(&endpoint.driver_id) {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(3), lost)
        .await
        .expect("the loss is told");
    assert_eq!(broker.locate(one, 1).await.unwrap_err().code(), Code::NotFound);

    // The next epoch gets another driver, and the one before it nothing any more.
    let next = broker.reserve(one, 2, "").await.unwrap();
    assert_ne!(next.driver_id, endpoint.driver_id);
    let (reason, _) = broker.reserve(one, 1, "").await.unwrap_err();
    assert_eq!(reason, Reason::StaleEpoch);
    assert_eq!(
        broker.locate(one, 1).await.unwrap_err().code(),
        Code::FailedPrecondition
    );
    broker.fence(one, 3, true).await;
    assert!(!is_alive(next.pid), "a fence is promised only when nothing runs");
    assert!(broker.greet_through_tunnel(&next.driver_id).await.is_err());
    agent.stop(PATIENCE).await;
    assert!(broker_is_gone(&broker).await);
}

async fn broker_is_gone(broker: &crate::broker::Broker) -> bool {
    let listed = broker
        .agent
        .clone()
        .list_drivers(api::ListDriversRequest {})
        .await;
    listed.is_err()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_fails_says_why_and_a_full_node_refuses() {
    let broken = ProfileConfig {
        master: "nonsense".to_owned(),
        ..cold()
    };
    let large = ProfileConfig {
        memory_bytes: 8 << 30,
        ..cold()
    };
    let mut node = Node::new(broken).await;
    node.config.profiles.insert("large".parse().unwrap(), large);
    let (agent, broker) = node.start().await;
    let (reason, message) = broker.reserve(session(1), 1, "").await.unwrap_err();
    assert_eq!(reason, Reason::StartFailed);
    assert!(
        message.contains("driver.log") && message.contains("Master must"),
        "{message}"
    );
    let (reason, message) = broker.reserve(session(2), 1, "").await.unwrap_err();
    assert_eq!(reason, Reason::StartFailed, "{message}");
    assert!(message.contains("fail to start"), "{message}");
    let (reason, _) = broker.reserve_in("large", session(3), 1, "").await.unwrap_err();
    assert_eq!(reason, Reason::NoMemory);
    let (reason, _) = broker.reserve_in("none", session(3), 1, "").await.unwrap_err();
    assert_eq!(reason, Reason::UnknownProfile);
    agent.stop(PATIENCE).await;
}
