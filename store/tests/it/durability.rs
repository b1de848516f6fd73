//! What the embedded store keeps over a restart of its process.

use std::time::Duration;

use berth_store::embedded::Embedded;
use berth_store::{Store, StoreError, Txn};

#[tokio::test]
async fn i2_what_was_answered_is_there_after_reopening_and_leases_are_not() {
    let directory = tempfile::tempdir().unwrap();
    let first = Embedded::open(directory.path()).unwrap();
    let lease = first.grant(Duration::from_secs(60)).await.unwrap();
    first
        .txn(Txn::new().put("kept", "1").put_leased("leased", "x", lease))
        .await
        .unwrap();
    let kept = first.get("kept").await.unwrap();
    drop(first);

    let second = reopen(directory.path()).await;
    assert_eq!(second.get("kept").await.unwrap(), kept);
    assert_eq!(second.get("leased").await.unwrap(), None);
    assert!(matches!(second.renew(lease).await, Err(StoreError::LeaseGone(_))));
}

/// The writer thread lets the file go a moment after the last handle is dropped.
async fn reopen(path: &std::path::Path) -> std::sync::Arc<Embedded> {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    loop {
        match Embedded::open(path) {
            Ok(store) => return store,
            Err(error) if tokio::time::Instant::now() > deadline => panic!("still locked: {error}"),
            Err(_) => tokio::task::yield_now().await,
        }
    }
}

#[tokio::test]
async fn a_second_opener_is_told_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let _first = Embedded::open(directory.path()).unwrap();
    let error = Embedded::open(directory.path()).unwrap_err().to_string();
    assert!(error.contains("another berth process"), "{error}");
}

#[test]
fn a_path_that_is_no_directory_is_told_what_to_do() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = Embedded::open(file.path()).unwrap_err().to_string();
    assert!(error.contains("choose a data directory"), "{error}");
}
