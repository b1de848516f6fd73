//! Answers that are needed whole.

use arrow_array::RecordBatch;
use uuid::Uuid;

use super::cursor;
use super::failure::Failure;
use super::plan::{self, Part};
use crate::dialects::connect::inside::Inside;

/// Bytes of such an answer; the list of a database's tables is one.
const MAX_BYTES: usize = 64 << 20;

/// Everything that a plan answers in a session.
///
/// # Errors
/// The plan's own, or more rows than are taken at once.
pub(super) async fn answer(inside: &Inside, plan: &[u8]) -> Result<Vec<RecordBatch>, Failure> {
    let id = Uuid::new_v4();
    let answered = read(inside, id, plan).await;
    inside.release(id);
    answered
}

async fn read(inside: &Inside, id: Uuid, plan: &[u8]) -> Result<Vec<RecordBatch>, Failure> {
    let mut results = inside.execute(id, plan).await?;
    let (mut rows, mut bytes) = (Vec::new(), 0);
    while let Some(message) = results.next().await {
        let message = message?;
        let Part::Rows { stream, .. } = plan::part(&message)? else {
            continue;
        };
        bytes += stream.len();
        if bytes > MAX_BYTES {
            let text = "the answer is too large; narrow what is asked for";
            return Err(Failure::new("54000", text));
        }
        rows.extend(cursor::decode(stream).map_err(Failure::unreadable)?);
    }
    Ok(rows)
}
