//! One process has one log: everything that needs it is one test.

use super::*;
use crate::tasks::{Shutdown, Tasks};

#[tokio::test]
async fn logs_metrics_and_traces_are_set_up_together_and_once() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log/berth.log");
    // Nobody listens on this port: traces are made, and given up at shutdown.
    let config = TelemetryConfig {
        log_format: LogFormat::Json,
        log_file: Some(log.clone()),
        otlp_endpoint: Some("http://127.0.0.1:1".to_owned()),
        ..TelemetryConfig::default()
    };
    let telemetry = init(&config, "berth-test").unwrap();
    assert!(matches!(
        init(&config, "berth-test"),
        Err(TelemetryError::Twice(_))
    ));

    metrics::histogram!("berth_test_seconds").record(0.003);
    let text = telemetry.recorder().render();
    assert!(
        text.contains(r#"berth_test_seconds_bucket{le="0.005"} 1"#),
        "{text}"
    );
    assert!(text.contains("berth_build_info"), "{text}");
    let tasks = Tasks::new(Shutdown::new());
    telemetry.recorder().keep_up(&tasks);
    assert!(tasks.stop(Duration::from_secs(5)).await);

    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let mut headers = http::HeaderMap::new();
    headers.insert("traceparent", parent.parse().unwrap());
    let span = tracing::info_span!("call");
    trace::adopt(&headers, &span);
    let mut onward = http::HeaderMap::new();
    trace::pass_on(&span, &mut onward);
    let named = onward["traceparent"].to_str().unwrap();
    assert!(
        named.contains("0af7651916cd43dd8448eb211c80319c") && named != parent,
        "{named}"
    );

    span.in_scope(|| tracing::info!(epoch = 3, "a line"));
    drop(span);
    let line = std::fs::read_to_string(&log).unwrap();
    let line = line.lines().find(|line| line.contains("a line")).unwrap();
    assert!(line.starts_with('{') && line.contains(r#""epoch":3"#), "{line}");
    telemetry.shutdown(Duration::from_millis(200)).await;
}

#[test]
fn a_level_that_is_none_is_named() {
    let config = TelemetryConfig {
        log_level: "berth=loud".to_owned(),
        ..TelemetryConfig::default()
    };
    let error = init(&config, "berth-test").unwrap_err().to_string();
    assert!(error.contains("berth=loud"), "{error}");
}
