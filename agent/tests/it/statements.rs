//! Code statements on a real driver.

use std::time::Duration;

use berth_proto::agent as api;
use berth_proto::agent::statement::State;
use tonic::Code;

use crate::broker::{output, session};
use crate::node::{Node, cold, kill};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn code_runs_once_in_order_and_its_effects_are_seen() {
    let node = Node::new(cold()).await;
    let (agent, broker) = node.start().await;
    let one = session(1);
    let endpoint = broker.reserve(one, 1, "").await.unwrap();

    let sum = broker.run(one, "0", "pyspark", "print('so')\nn = 1\nn + 1").await;
    assert_eq!(
        (sum.state(), output(&sum, "text/plain")),
        (State::Ok, "so\n2".into())
    );
    assert!(sum.effects.is_empty());
    // The same id again is the same statement, whatever the code.
    assert_eq!(broker.run(one, "0", "pyspark", "n = 9").await, sum);
    let unchanged = broker.run(one, "1", "pyspark", "n").await;
    assert_eq!(output(&unchanged, "text/plain"), "1");

    let fails = broker.run(one, "2", "pyspark", "1/0").await;
    assert_eq!(
        (fails.state(), fails.error_name.as_str()),
        (State::Error, "ZeroDivisionError")
    );
    assert!(fails.traceback.join("").contains("1/0"));

    let rows = broker.run(one, "3", "sql", "select 1 as a, 'x' as b").await;
    assert_eq!(
        output(&rows, "application/json")["data"],
        serde_json::json!([[1, "x"]])
    );

    let path = node.config.state_dir.join("written");
    let code = format!("open({path:?}, 'w').close()");
    let writes = broker.run(one, "4", "pyspark", &code).await;
    assert_eq!(writes.effects, [format!("file:{}", path.display())]);

    let request = api::CompleteRequest {
        session_id: one.to_string(),
        epoch: 1,
        kind: "pyspark".to_owned(),
        code: "spark.ran".to_owned(),
        cursor: 9,
    };
    let completed = broker.agent.clone().complete(request).await.unwrap().into_inner();
    assert_eq!(completed.candidates, ["spark.range("]);

    cancel(&broker, one).await;

    // A lost driver is told as lost, not as a result; what had ended is still there.
    broker
        .start(one, "7", "pyspark", "import time; time.sleep(600)")
        .await
        .unwrap();
    let waiting = broker.get(one, "7", 60_000);
    let killing = async { kill(endpoint.pid) };
    let (lost, ()) = tokio::join!(waiting, killing);
    assert_eq!(lost.unwrap_err().code(), Code::Aborted);
    assert_eq!(broker.get(one, "0", 0).await.unwrap(), sum);
    broker.fence(one, 2, true).await;
    assert_eq!(broker.get(one, "0", 0).await.unwrap_err().code(), Code::NotFound);
    agent.stop(Duration::from_secs(2)).await;
}

async fn cancel(broker: &crate::broker::Broker, one: berth_core::ids::SessionId) {
    broker
        .start(one, "5", "pyspark", "import time; time.sleep(600)")
        .await
        .unwrap();
    broker.start(one, "6", "pyspark", "n = 5").await.unwrap();
    for id in ["6", "5"] {
        let request = api::CancelStatementRequest {
            session_id: one.to_string(),
            epoch: 1,
            statement_id: id.to_owned(),
        };
        broker.agent.clone().cancel_statement(request).await.unwrap();
    }
    for id in ["5", "6"] {
        assert_eq!(
            broker.get(one, id, 30_000).await.unwrap().state(),
            State::Cancelled,
            "{id}"
        );
    }
    let unchanged = broker.run(one, "6b", "pyspark", "n").await;
    assert_eq!(output(&unchanged, "text/plain"), "1");
}
