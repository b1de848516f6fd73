//! AddArtifacts: a stream of uploads that becomes part of the session's state.
//!
//! The whole stream is kept until the driver has answered, so that it can be sent again after a loss, and recorded
//! as it came. Only its first message is rewritten: that one decides the session of all.

use std::sync::Arc;

use berth_core::connect::Classified;
use berth_core::wire::{self, WireError};
use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use tonic::{Code, Status, Streaming};
use uuid::Uuid;

use super::backend::Intent;
use super::backend::Route;
use super::codec::Message;
use super::recorded::pack;
use super::session::{Call, once};
use super::unary::ended;
use super::{Connect, errors, rewrite, upstream};
use berth_core::lineage::Class;

/// Bytes that one permit of the upload budget stands for.
pub(crate) const PERMIT_BYTES: usize = 64 << 10;

/// Receives an upload, records it and gives it to the session's driver.
pub(crate) async fn add(
    connect: &Arc<Connect>,
    call: Call,
    mut rest: Streaming<Bytes>,
) -> Result<Message, Status> {
    let mut upload = Upload::new(connect, call.message.clone())?;
    while let Some(message) = rest.message().await? {
        upload.add(connect, message)?;
    }
    let owned = Arc::clone(connect);
    let work = async move { record_and_send(&owned, &call, upload).await };
    connect.to_end("connect upload", work).await?
}

/// Messages with their share of the budget for uploads in memory.
struct Upload {
    messages: Vec<Bytes>,
    bytes: usize,
    permits: Vec<OwnedSemaphorePermit>,
}

impl Upload {
    fn new(connect: &Connect, first: Bytes) -> Result<Self, Status> {
        let mut upload = Self {
            messages: Vec::new(),
            bytes: 0,
            permits: Vec::new(),
        };
        upload.add(connect, first)?;
        Ok(upload)
    }

    fn add(&mut self, connect: &Connect, message: Bytes) -> Result<(), Status> {
        self.bytes += message.len();
        if self.bytes > connect.config.max_upload_bytes {
            return Err(errors::upload_too_large(connect.config.max_upload_bytes));
        }
        while self.permits.len() * PERMIT_BYTES < self.bytes {
            let permit = Arc::clone(&connect.uploads).try_acquire_owned();
            self.permits.push(permit.map_err(|error| {
                let text = format!("too many uploads at once ({error}); try again later");
                errors::retry_later(Code::ResourceExhausted, &text, connect.config.retry_delay)
            })?);
        }
        self.messages.push(message);
        Ok(())
    }
}

async fn record_and_send(connect: &Arc<Connect>, call: &Call, upload: Upload) -> Result<Message, Status> {
    let classified = classify(&upload.messages).map_err(rewrite::malformed)?;
    let route = connect.proved(connect.route(call).await?).await?;
    let class = classified.class;
    let what = classified.what.clone();
    let ticket = connect.begin(&route, intent(classified, &upload)).await?;
    let sent = match class {
        Class::Write | Class::Pinned => once(route, &what, |route| send(call, route, &upload.messages)).await,
        Class::Read | Class::State => {
            connect
                .on_driver(route, |route| send(call, route, &upload.messages))
                .await
        }
    };
    connect.finish(ticket, ended(&sent)).await?;
    let (route, answer) = sent?;
    Ok(rewrite::response(call.rpc, &route.record, answer, |_| {}))
}

fn intent(classified: Classified, upload: &Upload) -> Intent {
    let payload = pack(upload.messages.iter().map(Bytes::as_ref));
    Intent {
        operation: Uuid::new_v4().to_string(),
        alias: String::new(),
        class: classified.class,
        call: "artifacts".to_owned(),
        what: classified.what,
        key: classified.key,
        fingerprint: super::execute::fingerprint(&payload),
        payload,
        blobs: Vec::new(),
    }
}

async fn send(call: &Call, route: Route, messages: &[Bytes]) -> Result<Bytes, Status> {
    let messages = addressed(call.rpc, &route, messages);
    upstream::upload(&route, call.rpc, messages, &call.metadata).await
}

/// The messages of an upload for the session's driver.
pub(crate) fn addressed(rpc: super::rpc::Rpc, route: &Route, messages: &[Bytes]) -> Vec<Message> {
    let mut messages = messages.iter().cloned();
    let first = messages
        .next()
        .map(|first| rewrite::request(rpc, route, first, |_| {}));
    first.into_iter().chain(messages.map(Message::from)).collect()
}

/// `AddArtifactsRequest.batch`, with its artifacts in field 1.
const BATCH: u32 = 3;
/// `AddArtifactsRequest.begin_chunk`.
const BEGIN_CHUNK: u32 = 4;
/// Uploads with this prefix go to a file system, outside the session.
const FORWARD_TO_FS: &str = "forward_to_fs/";

/// Uploads are state of the session, but for those that write to a file system.
fn classify(messages: &[Bytes]) -> Result<Classified, WireError> {
    let names = names(messages)?;
    let outside = names.iter().any(|name| name.starts_with(FORWARD_TO_FS));
    let class = if outside { Class::Write } else { Class::State };
    let what = format!("add {}", names.join(", "));
    Ok(Classified {
        key: match names.as_slice() {
            [name] => format!("artifact:{name}"),
            _ => String::new(),
        },
        blobs: names
            .into_iter()
            .filter(|name| name.starts_with("cache/"))
            .collect(),
        ..Classified::new(class, what)
    })
}

fn names(messages: &[Bytes]) -> Result<Vec<String>, WireError> {
    let mut names = Vec::new();
    for message in messages {
        if let Some(batch) = wire::last_bytes(message, BATCH)? {
            for artifact in wire::all_bytes(batch, 1)? {
                names.extend(wire::last_text(artifact, 1)?);
            }
        }
        if let Some(begin) = wire::last_bytes(message, BEGIN_CHUNK)? {
            names.extend(wire::last_text(begin, 1)?);
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(name: &str) -> Bytes {
        let mut chunk = Vec::new();
        wire::append_string(&mut chunk, 1, name);
        let mut message = Vec::new();
        wire::append_bytes(&mut message, BEGIN_CHUNK, &chunk);
        message.into()
    }

    #[test]
    fn uploads_are_state_unless_they_leave_the_session() {
        let cached = classify(&[begin("cache/abc")]).unwrap();
        assert_eq!(
            (cached.class, cached.key.as_str()),
            (Class::State, "artifact:cache/abc")
        );
        assert_eq!(cached.blobs, ["cache/abc"]);
        let two = classify(&[begin("pyfiles/a.py"), begin("jars/b.jar")]).unwrap();
        assert_eq!((two.class, two.key.as_str()), (Class::State, ""));
        let forwarded = classify(&[begin("forward_to_fs/tmp/x")]).unwrap();
        assert_eq!(forwarded.class, Class::Write);
    }
}
