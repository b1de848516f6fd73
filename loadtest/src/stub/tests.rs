use std::net::SocketAddr;

use berth_runtime::tasks::Shutdown;
use tokio::sync::oneshot;

use super::*;
use crate::client::Client;
use crate::target::Target;

async fn start(tasks: &Tasks, batches: u64) -> SocketAddr {
    let (told, address) = oneshot::channel();
    let stub = StubDriver {
        listen: ([127, 0, 0, 1], 0).into(),
        token: Some("t".to_owned()),
        batches,
        batch_bytes: 1000,
        batch_rows: 10,
    };
    let own = tasks.clone();
    tasks.spawn("stub", async move {
        stub.run(&own, |address| told.send(address).unwrap())
            .await
            .unwrap();
    });
    address.await.unwrap()
}

fn target(address: SocketAddr, token: &str) -> Target {
    format!("sc://{address}/;token={token}").parse().unwrap()
}

#[tokio::test]
async fn the_client_and_the_stub_understand_each_other() {
    let tasks = Tasks::new(Shutdown::new());
    let address = start(&tasks, 100).await;
    let client = Client::connect(&target(address, "t")).await.unwrap();
    assert_eq!(client.config_get("k").await.unwrap().as_deref(), Some("200"));
    let received = client.query("select 1").await.unwrap();
    assert_eq!(
        (received.bytes, received.rows, received.messages),
        (100_000, 1000, 102)
    );
    client.close().await.unwrap();
    tasks.stop(std::time::Duration::ZERO).await;
}

#[tokio::test]
async fn a_wrong_token_is_refused() {
    let tasks = Tasks::new(Shutdown::new());
    let address = start(&tasks, 1).await;
    let client = Client::connect(&target(address, "wrong")).await.unwrap();
    let refused = client.config_get("k").await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unauthenticated);
    tasks.stop(std::time::Duration::ZERO).await;
}
