//! Tables outlive drivers, and drivers start from a class archive.

use std::time::Duration;

use berth_agent::{Catalog, ProfileConfig};
use berth_proto::agent::statement::State;

use crate::broker::{output, session};
use crate::node::{Node, cold, eventually, kill};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_is_there_on_the_next_driver_which_starts_from_the_archive() {
    let archived = ProfileConfig {
        class_data_sharing: true,
        ..cold()
    };
    let mut node = Node::new(archived).await;
    node.config.catalog = Catalog::Embedded;
    let (agent, broker) = node.start().await;
    let (one, two) = (session(1), session(2));
    let first = broker.reserve(one, 1, "").await.unwrap();
    let created = broker
        .run(one, "0", "sql", "create table kept as select 7 as n")
        .await;
    assert_eq!(created.state(), State::Ok, "{created:?}");
    assert!(
        created
            .effects
            .iter()
            .any(|effect| effect.starts_with("spark:Create")),
        "{created:?}"
    );
    kill(first.pid);

    let archives = node.config.state_dir.join("class-archives");
    let built = || async {
        let files = std::fs::read_dir(&archives).into_iter().flatten().flatten();
        files
            .into_iter()
            .any(|file| file.path().extension().is_some_and(|kind| kind == "jsa"))
    };
    eventually("the class archive is built", Duration::from_secs(240), built).await;
    let second = broker.reserve(two, 1, "").await.unwrap();
    let command = std::fs::read(format!("/proc/{}/cmdline", second.pid)).unwrap();
    assert!(String::from_utf8_lossy(&command).contains("-XX:SharedArchiveFile="));
    let read = broker.run(two, "0", "sql", "select * from kept").await;
    assert_eq!(
        output(&read, "application/json")["data"],
        serde_json::json!([[7]]),
        "{read:?}"
    );
    agent.stop(Duration::from_secs(2)).await;
}
