//! Blobs in S3, or in what speaks its protocol.

use std::sync::Arc;
use std::time::Duration;

use object_store::RetryConfig;
use object_store::aws::AmazonS3Builder;
use object_store::prefix::PrefixStore;

use super::{BlobError, Blobs};

/// A caller waits meanwhile, so that a bucket that is away is reported soon.
const RETRIES: usize = 4;
/// No new try after this time.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where the bucket is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Config {
    /// The bucket.
    pub bucket: String,
    /// What all object names begin with; may be empty.
    pub prefix: String,
    /// The bucket's region. `None` takes `AWS_REGION`.
    pub region: Option<String>,
    /// The server, for others than AWS, such as `https://minio:9000`. An `http` one is taken at its word.
    pub endpoint: Option<String>,
}

impl Blobs {
    /// Blobs in a bucket, which is not contacted yet. Credentials come from the `environment`, as for every S3 client:
    /// `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, a web identity token, or the machine's own role.
    ///
    /// # Errors
    /// [`BlobError::Bucket`].
    pub fn s3(
        config: S3Config,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, BlobError> {
        let mut builder = from(environment)
            .with_bucket_name(&config.bucket)
            .with_retry(RetryConfig {
                max_retries: RETRIES,
                retry_timeout: PATIENCE,
                ..RetryConfig::default()
            })
            // Blobs go one at a time, and not every server knows how to delete many at once.
            .with_disable_bulk_delete(true);
        if let Some(region) = config.region {
            builder = builder.with_region(region);
        }
        if let Some(endpoint) = config.endpoint {
            builder = builder
                .with_allow_http(endpoint.starts_with("http://"))
                .with_endpoint(endpoint);
        }
        let store = builder.build().map_err(|source| BlobError::Bucket {
            bucket: config.bucket,
            source,
        })?;
        Ok(Self {
            store: Arc::new(PrefixStore::new(store, config.prefix)),
        })
    }
}

fn from(environment: impl IntoIterator<Item = (String, String)>) -> AmazonS3Builder {
    let aws = environment
        .into_iter()
        .filter(|(name, _)| name.starts_with("AWS_"));
    aws.fold(AmazonS3Builder::new(), |builder, (name, value)| {
        match name.to_ascii_lowercase().parse() {
            Ok(key) => builder.with_config(key, value),
            // Of other tools.
            Err(_) => builder,
        }
    })
}
