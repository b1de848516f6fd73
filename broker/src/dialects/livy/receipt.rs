//! Files on their way in: kept piece by piece, so that none is ever in memory whole.

use std::future::Future;

use axum::extract::multipart::{Field, MultipartError};
use bytes::{Bytes, BytesMut};
use http::StatusCode;
use sha2::{Digest, Sha256};

use super::refusal::Refusal;
use super::resource::Upload;

/// A file is kept in pieces of this size.
const PIECE_BYTES: usize = 4 << 20;

/// Keeps the file of a part under a name. `keep` keeps one piece and tells its name.
///
/// # Errors
/// [`Refusal::TooLarge`] above `most` bytes, [`Refusal::Malformed`], and what `keep` says.
pub(crate) async fn receive<F, K>(
    part: &mut Field<'_>,
    name: String,
    most: usize,
    keep: F,
) -> Result<Upload, Refusal>
where
    F: Fn(Bytes) -> K,
    K: Future<Output = Result<String, Refusal>>,
{
    let (mut hash, mut bytes, mut chunks) = (Sha256::new(), 0, Vec::new());
    let mut piece = BytesMut::new();
    while let Some(data) = part.chunk().await.map_err(|error| broken(most, &error))? {
        bytes += data.len();
        if bytes > most {
            return Err(Refusal::TooLarge(most));
        }
        hash.update(&data);
        piece.extend_from_slice(&data);
        while piece.len() >= PIECE_BYTES {
            chunks.push(keep(piece.split_to(PIECE_BYTES).freeze()).await?);
        }
    }
    if !piece.is_empty() {
        chunks.push(keep(piece.freeze()).await?);
    }
    let hash = hash.finalize();
    Ok(Upload {
        name,
        sha256: hash.iter().map(|byte| format!("{byte:02x}")).collect(),
        chunks,
    })
}

/// What is wrong with a body in parts, of which `most` bytes are taken.
pub(crate) fn broken(most: usize, error: &MultipartError) -> Refusal {
    match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Refusal::TooLarge(most),
        _ => Refusal::Malformed(error.to_string()),
    }
}
