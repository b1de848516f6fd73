//! Brings uploaded files to a driver, by way of its agent.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use berth_core::ids::{Epoch, SessionId};
use berth_proto::agent::PutFileRequest;
use bytes::Bytes;
use futures_util::{Stream, StreamExt, future, stream};
use tonic::Status;

use crate::dialects::connect::backend::Refusal;
use crate::dialects::livy::resource::Upload;
use crate::fleet::Agent;
use crate::ledger::Ledger;

/// Bytes of one message.
const MESSAGE_BYTES: usize = 1 << 20;
/// A file that is not there by then will not come.
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);

/// Sends a file to where a session is. Sending it twice is sending it once.
///
/// # Errors
/// What the agent says, or `Unavailable` when the file cannot be read.
pub(crate) async fn put(
    agent: &mut Agent,
    ledger: &Arc<Ledger>,
    (session, epoch): (SessionId, Epoch),
    upload: &Upload,
) -> Result<(), Status> {
    let head = PutFileRequest {
        session_id: session.to_string(),
        epoch: epoch.get(),
        name: upload.name.clone(),
        sha256: upload.sha256.clone(),
        data: Vec::new(),
    };
    let fault = Arc::new(Mutex::new(None));
    let data = content(Arc::clone(ledger), upload.chunks.clone(), Arc::clone(&fault));
    let messages = stream::once(future::ready(head)).chain(data);
    let sent = tokio::time::timeout(DEADLINE, agent.put_file(messages)).await;
    // A file that broke off has the wrong hash for its agent; why it did is known here.
    if let Some(refusal) = fault.lock().unwrap_or_else(PoisonError::into_inner).take() {
        return Err(Status::unavailable(refusal.to_string()));
    }
    sent.map_err(|late| Status::deadline_exceeded(late.to_string()))?
        .map(drop)
}

/// The content of a file in messages. It ends early when a piece cannot be read, and says why.
fn content(
    ledger: Arc<Ledger>,
    chunks: Vec<String>,
    fault: Arc<Mutex<Option<Refusal>>>,
) -> impl Stream<Item = PutFileRequest> + Send + 'static {
    let pieces = stream::iter(chunks).then(move |sha256| {
        let ledger = Arc::clone(&ledger);
        async move { ledger.blob(&sha256).await }
    });
    let read = pieces.scan(fault, |fault, piece| {
        let piece = piece.map_err(|refusal| {
            *fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(refusal);
        });
        future::ready(piece.ok())
    });
    read.flat_map(|piece| stream::iter(messages(&piece)))
}

fn messages(piece: &Bytes) -> Vec<PutFileRequest> {
    let message = |data: &[u8]| PutFileRequest {
        data: data.to_vec(),
        ..PutFileRequest::default()
    };
    piece.chunks(MESSAGE_BYTES).map(message).collect()
}
