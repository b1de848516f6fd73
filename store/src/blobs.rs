//! Payloads too large for a record, kept once by the SHA-256 of their content.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use object_store::local::LocalFileSystem;
use object_store::path::Path as Location;
use object_store::{ObjectStore, ObjectStoreExt};
use sha2::{Digest, Sha256};

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
    /// The write failed; the disk may be full.
    #[error("a blob could not be written: {0}; check the space of the blob directory")]
    Write(#[source] object_store::Error),
    /// The blob is missing or damaged.
    #[error("blob {sha256} could not be read")]
    Read {
        /// Content hash.
        sha256: String,
        /// What the store said.
        #[source]
        source: object_store::Error,
    },
}

/// Blobs in a directory. Clones share it.
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

    /// Keeps `data` and gives its content hash, in hexadecimal. Keeping it twice is keeping it once.
    ///
    /// # Errors
    /// [`BlobError::Write`].
    pub async fn put(&self, data: Bytes) -> Result<String, BlobError> {
        let sha256 = hex(&Sha256::digest(&data));
        self.store
            .put(&location(&sha256), data.into())
            .await
            .map_err(BlobError::Write)?;
        Ok(sha256)
    }

    /// Reads a blob.
    ///
    /// # Errors
    /// [`BlobError::Read`].
    pub async fn get(&self, sha256: &str) -> Result<Bytes, BlobError> {
        let failed = |source| BlobError::Read {
            sha256: sha256.to_owned(),
            source,
        };
        self.store
            .get(&location(sha256))
            .await
            .map_err(failed)?
            .bytes()
            .await
            .map_err(failed)
    }
}

/// Two levels, so that no directory grows too large.
fn location(sha256: &str) -> Location {
    let (first, rest) = sha256.split_at_checked(2).unwrap_or((sha256, ""));
    Location::from_iter([first, rest])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
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
        assert!(blobs.get("00ff").await.unwrap_err().to_string().contains("00ff"));
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
