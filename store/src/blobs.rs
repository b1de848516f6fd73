//! Payloads too large for a record, kept once by the SHA-256 of their content.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::{Stream, TryStreamExt as _};
use object_store::local::LocalFileSystem;
use object_store::path::Path as Location;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use sha2::{Digest, Sha256};

mod s3;

pub use s3::S3Config;

/// Why a blob could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The directory cannot be used.
    #[error("blobs cannot be kept in {path}: {reason}; choose a directory that this user can write to")]
    Directory {
        /// The directory.
        path: String,
        /// What the system said.
        reason: String,
    },
    /// The bucket is configured wrongly.
    #[error("blobs cannot be kept in bucket '{bucket}'; check its name, region, endpoint and credentials")]
    Bucket {
        /// The bucket.
        bucket: String,
        /// What the client said.
        #[source]
        source: object_store::Error,
    },
    /// There is no room.
    #[error("blob {sha256} of {bytes} bytes was not kept: there is no space left; make room and try again")]
    Full {
        /// Content hash.
        sha256: String,
        /// Its size.
        bytes: usize,
        /// What the system said.
        #[source]
        source: object_store::Error,
    },
    /// The write failed for another reason.
    #[error("blob {sha256} was not kept: {}", advice(source))]
    Write {
        /// Content hash.
        sha256: String,
        /// What the store said.
        #[source]
        source: object_store::Error,
    },
    /// There is no such blob.
    #[error("blob {sha256} is missing; do all brokers use the same blob store?")]
    Missing {
        /// Content hash.
        sha256: String,
    },
    /// What was read is not what was kept.
    #[error("blob {sha256} is damaged: its content has the hash {found}")]
    Damaged {
        /// Content hash wanted.
        sha256: String,
        /// Content hash found.
        found: String,
    },
    /// The blobs could not be listed.
    #[error("blobs could not be listed: {}", advice(source))]
    List {
        /// What the store said.
        #[source]
        source: object_store::Error,
    },
    /// The read failed.
    #[error("blob {sha256} could not be read: {}", advice(source))]
    Read {
        /// Content hash.
        sha256: String,
        /// What the store said.
        #[source]
        source: object_store::Error,
    },
}

impl BlobError {
    /// Whether somebody has to change something before it can go away.
    fn lasts(&self) -> bool {
        use object_store::Error::{NotFound, PermissionDenied, Unauthenticated};
        let Self::Write { source, .. } = self else {
            return false;
        };
        matches!(
            source,
            NotFound { .. } | PermissionDenied { .. } | Unauthenticated { .. }
        )
    }
}

/// What to do about a fault of the place; the fault itself says no more that a user could act on.
fn advice(fault: &object_store::Error) -> &'static str {
    use object_store::Error::{NotFound, PermissionDenied, Unauthenticated};
    match fault {
        NotFound { .. } => "there is no such bucket or directory; make it, or correct its name in [blobs]",
        PermissionDenied { .. } | Unauthenticated { .. } => {
            "the blob store refuses it; check the place in [blobs], and Berth's credentials and rights there"
        }
        _ => {
            "the blob store does not work; check that it is up and can be written to, and that Berth has credentials for it"
        }
    }
}

/// A place for blobs. Clones share it.
#[derive(Debug, Clone)]
pub struct Blobs {
    store: Arc<dyn ObjectStore>,
}

impl Blobs {
    /// Blobs in `path`, which is made if it is missing.
    ///
    /// # Errors
    /// [`BlobError::Directory`].
    pub fn directory(path: &Path) -> Result<Self, BlobError> {
        let unusable = |reason: String| BlobError::Directory {
            path: path.display().to_string(),
            reason,
        };
        std::fs::create_dir_all(path).map_err(|error| unusable(error.to_string()))?;
        let store = LocalFileSystem::new_with_prefix(path).map_err(|error| unusable(error.to_string()))?;
        Ok(Self {
            store: Arc::new(store.with_fsync(true)),
        })
    }

    /// Finds out at the start whether blobs can be kept. A place that is away or full may be back when it is needed.
    ///
    /// # Errors
    /// [`BlobError::Write`] for what does not mend itself: no such bucket, wrong credentials, no right to write.
    pub async fn check(&self) -> Result<(), BlobError> {
        match self.put(Bytes::from_static(b"berth")).await {
            Err(error) if error.lasts() => Err(error),
            Err(error) => {
                tracing::warn!(%error, "blobs cannot be kept now");
                Ok(())
            }
            Ok(_) => Ok(()),
        }
    }

    /// Keeps `data` and gives its content hash, in hexadecimal. Keeping it twice is keeping it once.
    ///
    /// # Errors
    /// [`BlobError::Full`] or [`BlobError::Write`].
    pub async fn put(&self, data: Bytes) -> Result<String, BlobError> {
        let (sha256, bytes) = (hash(&data), data.len());
        match self.store.put(&location(&sha256), data.into()).await {
            Ok(_) => Ok(sha256),
            Err(source) => Err(not_kept(sha256, bytes, source)),
        }
    }

    /// Reads a blob and checks that it is what was kept.
    ///
    /// # Errors
    /// [`BlobError::Missing`], [`BlobError::Damaged`] or [`BlobError::Read`].
    pub async fn get(&self, sha256: &str) -> Result<Bytes, BlobError> {
        let failed = |source| not_read(sha256, source);
        let found = self.store.get(&location(sha256)).await.map_err(failed)?;
        let data = found.bytes().await.map_err(failed)?;
        let found = hash(&data);
        if found == sha256 {
            return Ok(data);
        }
        Err(BlobError::Damaged {
            sha256: sha256.to_owned(),
            found,
        })
    }

    /// The blobs that were last written longer ago than `age`, by the store's clock and this machine's, as they are
    /// listed.
    ///
    /// # Errors
    /// [`BlobError::List`].
    pub fn older_than(&self, age: Duration) -> impl Stream<Item = Result<String, BlobError>> + Send + Unpin {
        let all = self.store.list(None);
        let old = all.try_filter(move |object| std::future::ready(is_older(object, age)));
        let named = old.try_filter_map(|object| std::future::ready(Ok(content_of(&object.location))));
        Box::pin(named.map_err(|source| BlobError::List { source }))
    }

    /// Removes a blob unless somebody has written it since, and tells whether it did.
    ///
    /// # Errors
    /// [`BlobError::Read`] or [`BlobError::Write`].
    pub async fn delete_older_than(&self, sha256: &str, age: Duration) -> Result<bool, BlobError> {
        match self.store.head(&location(sha256)).await {
            Ok(object) if is_older(&object, age) => self.delete(sha256).await.map(|()| true),
            Ok(_) | Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(source) => Err(not_read(sha256, source)),
        }
    }

    /// Removes a blob. Whoever calls knows that no record refers to it. A missing blob is none to remove.
    ///
    /// # Errors
    /// [`BlobError::Write`].
    pub async fn delete(&self, sha256: &str) -> Result<(), BlobError> {
        match self.store.delete(&location(sha256)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(source) => Err(BlobError::Write {
                sha256: sha256.to_owned(),
                source,
            }),
        }
    }
}

fn not_kept(sha256: String, bytes: usize, source: object_store::Error) -> BlobError {
    if is_full(&source) {
        return BlobError::Full {
            sha256,
            bytes,
            source,
        };
    }
    BlobError::Write { sha256, source }
}

fn not_read(sha256: &str, source: object_store::Error) -> BlobError {
    let sha256 = sha256.to_owned();
    match source {
        object_store::Error::NotFound { .. } => BlobError::Missing { sha256 },
        source => BlobError::Read { sha256, source },
    }
}

fn is_full(error: &object_store::Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let kind = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        if let Some(ErrorKind::StorageFull | ErrorKind::QuotaExceeded) = kind {
            return true;
        }
        cause = error.source();
    }
    false
}

fn is_older(object: &ObjectMeta, age: Duration) -> bool {
    // One from the future is young: clocks differ.
    SystemTime::from(object.last_modified)
        .elapsed()
        .is_ok_and(|elapsed| elapsed > age)
}

/// The content hash that a location stands for; `None` for what is not ours.
fn content_of(location: &Location) -> Option<String> {
    let sha256: String = location.parts().map(|part| part.as_ref().to_owned()).collect();
    let is_hash = sha256.len() == 64 && sha256.bytes().all(|byte| byte.is_ascii_hexdigit());
    (is_hash && self::location(&sha256) == *location).then_some(sha256)
}

/// Two levels, so that no directory grows too large.
fn location(sha256: &str) -> Location {
    let (first, rest) = sha256.split_at_checked(2).unwrap_or((sha256, ""));
    Location::from_iter([first, rest])
}

fn hash(data: &[u8]) -> String {
    Sha256::digest(data)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_blob_is_found_by_its_content() {
        let directory = tempfile::tempdir().unwrap();
        let blobs = Blobs::directory(directory.path()).unwrap();
        let sha256 = blobs.put(Bytes::from_static(b"abc")).await.unwrap();
        assert_eq!(
            sha256,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(blobs.put(Bytes::from_static(b"abc")).await.unwrap(), sha256);
        assert_eq!(
            Blobs::directory(directory.path())
                .unwrap()
                .get(&sha256)
                .await
                .unwrap(),
            "abc"
        );
        let missing = blobs.get("00ff").await.unwrap_err();
        assert!(
            matches!(&missing, BlobError::Missing { sha256 } if sha256 == "00ff"),
            "{missing}"
        );
        blobs.delete(&sha256).await.unwrap();
        blobs.delete(&sha256).await.unwrap();
        assert!(matches!(blobs.get(&sha256).await, Err(BlobError::Missing { .. })));
    }

    #[tokio::test]
    async fn a_damaged_blob_is_not_handed_out() {
        let directory = tempfile::tempdir().unwrap();
        let blobs = Blobs::directory(directory.path()).unwrap();
        let sha256 = blobs.put(Bytes::from_static(b"abc")).await.unwrap();
        let file = directory.path().join(&sha256[..2]).join(&sha256[2..]);
        std::fs::write(file, "abd").unwrap();
        let damaged = blobs.get(&sha256).await.unwrap_err();
        assert!(matches!(damaged, BlobError::Damaged { .. }), "{damaged}");
    }

    #[test]
    fn a_full_disk_is_told_apart_from_other_faults() {
        let kept = |kind: ErrorKind| {
            let cause = Box::new(std::io::Error::from(kind));
            let source = object_store::Error::Generic {
                store: "test",
                source: cause,
            };
            not_kept("00ff".to_owned(), 3, source)
        };
        let full = kept(ErrorKind::StorageFull).to_string();
        assert!(
            full.contains("no space left") && full.contains("3 bytes"),
            "{full}"
        );
        assert!(matches!(
            kept(ErrorKind::PermissionDenied),
            BlobError::Write { .. }
        ));
    }

    #[test]
    fn a_fault_that_lasts_says_what_to_change() {
        let fault = || Box::new(std::io::Error::from(ErrorKind::Other));
        let path = || "00/ff".to_owned();
        let absent = object_store::Error::NotFound {
            path: path(),
            source: fault(),
        };
        let refused = object_store::Error::PermissionDenied {
            path: path(),
            source: fault(),
        };
        let away = object_store::Error::Generic {
            store: "test",
            source: fault(),
        };
        for (source, lasts, advice) in [
            (absent, true, "make it, or correct its name"),
            (refused, true, "credentials and rights"),
            (away, false, "check that it is up"),
        ] {
            let error = not_kept("00ff".to_owned(), 3, source);
            assert_eq!(error.lasts(), lasts, "{error}");
            assert!(error.to_string().contains(advice), "{error}");
        }
    }

    #[tokio::test]
    async fn a_place_that_cannot_be_written_to_says_so() {
        let directory = tempfile::tempdir().unwrap();
        let blobs = Blobs::directory(directory.path()).unwrap();
        // A file where a directory would have to be made: in the way of any user, root too.
        std::fs::write(directory.path().join("ba"), "").unwrap();
        let refused = blobs.put(Bytes::from_static(b"abc")).await.unwrap_err();
        assert!(refused.to_string().contains("can be written to"), "{refused}");
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_named() {
        let error = Blobs::directory(Path::new("/proc/berth-blobs"))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("/proc/berth-blobs") && error.contains("choose a directory"),
            "{error}"
        );
    }
}
