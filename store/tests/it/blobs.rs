//! What holds for blobs, on a directory and on a real S3 server; and what a bucket that cannot be used says.

use std::time::Duration;

use berth_store::blobs::{BlobError, Blobs};
use bytes::Bytes;
use futures_util::TryStreamExt as _;

use crate::support::Bucket;

/// Larger than what any part of the way keeps in one buffer.
const LARGE: usize = 40 << 20;

async fn conforms(blobs: &Blobs) {
    blobs.check().await.unwrap();
    let contents = [
        Bytes::new(),
        Bytes::from_static(b"abc"),
        (0..LARGE).map(|n| ((n * n) >> 9).to_le_bytes()[0]).collect(),
    ];
    for content in contents {
        let sha256 = blobs.put(content.clone()).await.unwrap();
        assert_eq!(blobs.put(content.clone()).await.unwrap(), sha256, "twice is once");
        assert!(blobs.get(&sha256).await.unwrap() == content, "as it was kept");
        let day = Duration::from_secs(24 * 3600);
        assert!(!blobs.delete_older_than(&sha256, day).await.unwrap(), "young");
        let old: Vec<String> = blobs.older_than(day).try_collect().await.unwrap();
        assert!(!old.contains(&sha256));
        blobs.delete(&sha256).await.unwrap();
        blobs.delete(&sha256).await.unwrap();
        let missing = blobs.get(&sha256).await.unwrap_err();
        assert!(
            matches!(&missing, BlobError::Missing { sha256: named } if *named == sha256),
            "{missing}"
        );
    }
}

async fn keep_at_once(blobs: &Blobs) {
    let kept = (0..16_u8).map(|n| async move {
        // Every content is kept twice at the same time.
        let content = Bytes::from(vec![n / 2; 1 << 20]);
        let sha256 = blobs.put(content.clone()).await.unwrap();
        assert!(blobs.get(&sha256).await.unwrap() == content);
    });
    futures_util::future::join_all(kept).await;
}

#[tokio::test]
async fn a_directory_keeps_blobs() {
    let directory = tempfile::tempdir().unwrap();
    let blobs = Blobs::directory(directory.path()).unwrap();
    conforms(&blobs).await;
    keep_at_once(&blobs).await;
}

#[tokio::test]
async fn a_bucket_keeps_blobs_and_says_what_is_wrong_with_it() {
    let mut bucket = Bucket::start().await;
    let blobs = bucket.blobs("berth", "sesame");
    conforms(&blobs).await;
    keep_at_once(&blobs).await;

    // A caller who may not make buckets is not told which there are.
    for blobs in [bucket.blobs("berth", "guessed"), bucket.blobs("absent", "sesame")] {
        let refused = blobs.check().await.unwrap_err().to_string();
        assert!(
            refused.contains("check the place in [blobs], and Berth's credentials")
                && !refused.contains('\n'),
            "one line that says what to do: {refused}"
        );
    }

    let sha256 = blobs.put(Bytes::from_static(b"abc")).await.unwrap();
    bucket.kill();
    for error in [
        blobs.put(Bytes::from_static(b"abd")).await.unwrap_err(),
        blobs.get(&sha256).await.unwrap_err(),
    ] {
        let error = error.to_string();
        assert!(error.contains("check that it is up"), "{error}");
    }
    blobs.check().await.unwrap();
}
