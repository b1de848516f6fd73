//! Files for drivers: what clients have uploaded, on its way to their sessions.

use std::path::{Path, PathBuf};

use berth_proto::agent as api;
use sha2::{Digest, Sha256};
use tokio::fs::File;
use tokio::io::AsyncWriteExt;
use tonic::{Status, Streaming};

use super::{AgentService, session_epoch};
use crate::files::private_directory;

/// Longest file. Brokers have a limit of their own, which is lower.
const MAX_FILE_BYTES: usize = 1 << 30;
/// Longest name.
const MAX_NAME_BYTES: usize = 255;

impl AgentService {
    pub(super) async fn put(
        &self,
        mut messages: Streaming<api::PutFileRequest>,
    ) -> Result<api::PutFileReply, Status> {
        let first = messages.message().await?;
        let first = first.ok_or_else(|| Status::invalid_argument("the file's first message is missing"))?;
        let (session, epoch) = session_epoch(&first.session_id, first.epoch)?;
        check(&first)?;
        let (driver, _) = self.located(session, epoch)?;
        let directory = driver.resources().join(&first.sha256);
        let path = directory.join(&first.name);
        if is_there(&path).await? {
            return Ok(api::PutFileReply {});
        }
        let made = tokio::task::spawn_blocking(move || private_directory(&directory)).await;
        made.map_err(std::io::Error::other)
            .flatten()
            .map_err(|error| not_written(&error))?;
        let part = part_of(&path);
        let received = receive(&mut messages, &part, &first.sha256).await;
        if let Err(status) = received {
            // Best effort: what stays goes with the driver.
            tokio::fs::remove_file(&part).await.ok();
            return Err(status);
        }
        // Only what is whole gets the name.
        let renamed = tokio::fs::rename(&part, &path).await;
        renamed.map_err(|error| not_written(&error))?;
        Ok(api::PutFileReply {})
    }
}

/// Both become parts of a path.
fn check(first: &api::PutFileRequest) -> Result<(), Status> {
    let is_hash = first.sha256.len() == 64 && first.sha256.bytes().all(|byte| byte.is_ascii_hexdigit());
    let name = &first.name;
    let fits = (1..=MAX_NAME_BYTES).contains(&name.len()) && name != "." && name != "..";
    let plain = !name.contains(['/', '\\']) && !name.chars().any(char::is_control);
    if is_hash && fits && plain {
        return Ok(());
    }
    Err(Status::invalid_argument(
        "a file has a name without a path and a SHA-256 in hexadecimal",
    ))
}

async fn is_there(path: &Path) -> Result<bool, Status> {
    let there = tokio::fs::try_exists(path).await;
    there.map_err(|error| not_written(&error))
}

fn part_of(path: &Path) -> PathBuf {
    path.with_file_name(format!(".{}.part", uuid::Uuid::new_v4().simple()))
}

async fn receive(
    messages: &mut Streaming<api::PutFileRequest>,
    part: &Path,
    sha256: &str,
) -> Result<(), Status> {
    let failed = |error: std::io::Error| not_written(&error);
    let mut file = File::create_new(part).await.map_err(failed)?;
    let (mut hash, mut bytes) = (Sha256::new(), 0);
    while let Some(message) = messages.message().await? {
        bytes += message.data.len();
        if bytes > MAX_FILE_BYTES {
            return Err(Status::invalid_argument(format!(
                "a file has at most {MAX_FILE_BYTES} bytes"
            )));
        }
        hash.update(&message.data);
        file.write_all(&message.data).await.map_err(failed)?;
    }
    file.flush().await.map_err(failed)?;
    let found: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    if found.eq_ignore_ascii_case(sha256) {
        return Ok(());
    }
    Err(Status::unavailable(format!(
        "the file came as {found} and not as {sha256}; send it again"
    )))
}

fn not_written(error: &std::io::Error) -> Status {
    Status::unavailable(format!("the file cannot be kept on this node: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i7_names_and_hashes_cannot_leave_their_directory() {
        let request = |name: &str, sha256: &str| api::PutFileRequest {
            name: name.to_owned(),
            sha256: sha256.to_owned(),
            ..api::PutFileRequest::default()
        };
        let hash = "0".repeat(64);
        assert!(check(&request("a b.jar", &hash)).is_ok());
        for name in ["", ".", "..", "a/b", "..\\b", "a\nb", &"x".repeat(256)] {
            assert!(check(&request(name, &hash)).is_err(), "{name}");
        }
        for sha256 in ["", "..", &"g".repeat(64)] {
            assert!(check(&request("a", sha256)).is_err(), "{sha256}");
        }
    }
}
