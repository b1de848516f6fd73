//! A submission in parts: what is asked for, and the files that it needs.

use axum::extract::Multipart;
use axum::extract::multipart::Field;

use super::super::Kyuubi;
use super::super::refusal::Refusal;
use super::request::{Files, NewBatch};
use crate::dialects::livy::receipt::{broken, receive};
use crate::dialects::livy::resource::{Upload, safe_name};

/// The part that has the request, and the one that has what is run.
const REQUEST: &str = "batchRequest";
const RESOURCE: &str = "resourceFile";
/// Files of one submission.
const MAX_FILES: usize = 100;

/// Reads the parts. Files are kept as they come.
///
/// # Errors
/// What is wrong with them, or missing.
pub(super) async fn read(kyuubi: &Kyuubi, mut parts: Multipart) -> Result<(NewBatch, Files), Refusal> {
    let most = kyuubi.config.max_upload_bytes;
    let (mut request, mut files) = (None, Files::default());
    while let Some(mut part) = parts.next_field().await.map_err(|error| broken(most, &error))? {
        let name = part.name().unwrap_or_default().to_owned();
        match name.as_str() {
            REQUEST => request = Some(read_request(kyuubi, part).await?),
            RESOURCE => {
                let own = part.file_name().unwrap_or_default().to_owned();
                files.resource = Some(keep(kyuubi, &mut part, &own).await?);
            }
            _ if files.extra.len() >= MAX_FILES => {
                return Err(Refusal::Malformed(format!(
                    "a batch comes with at most {MAX_FILES} files"
                )));
            }
            _ => {
                let upload = keep(kyuubi, &mut part, &name).await?;
                files.extra.insert(name, upload);
            }
        }
    }
    let missing = || Refusal::Malformed(format!("the part {REQUEST} is missing"));
    Ok((request.ok_or_else(missing)?, files))
}

async fn read_request(kyuubi: &Kyuubi, mut part: Field<'_>) -> Result<NewBatch, Refusal> {
    let is_json = part
        .content_type()
        .is_some_and(|media| media.to_ascii_lowercase().starts_with("application/json"));
    if !is_json {
        let text = format!("the part {REQUEST} needs Content-Type: application/json");
        return Err(Refusal::Malformed(text));
    }
    let most = kyuubi.config.max_body_bytes;
    let mut text = Vec::new();
    while let Some(data) = part.chunk().await.map_err(|error| broken(most, &error))? {
        if text.len() + data.len() > most {
            return Err(Refusal::TooLarge(most));
        }
        text.extend_from_slice(&data);
    }
    let wrong =
        |error| Refusal::Malformed(format!("the part {REQUEST} is not what this call takes: {error}"));
    serde_json::from_slice(&text).map_err(wrong)
}

async fn keep(kyuubi: &Kyuubi, part: &mut Field<'_>, name: &str) -> Result<Upload, Refusal> {
    let (name, most) = (safe_name(name)?, kyuubi.config.max_upload_bytes);
    let kept = receive(part, name, most, |piece| kyuubi.batches.places.keep(piece)).await;
    kept.map_err(|refusal| match refusal {
        crate::dialects::livy::refusal::Refusal::TooLarge(most) => Refusal::FilesTooLarge(most),
        other => other.into(),
    })
}
