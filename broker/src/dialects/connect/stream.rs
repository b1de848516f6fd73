//! The response stream of an ExecutePlan or ReattachExecute call.

use std::sync::Arc;

use futures_util::stream::{self, BoxStream, StreamExt as _};
use tonic::Status;

use super::Connect;
use super::codec::Message;
use super::operation::Operation;
use super::outbox::Reader;

/// The messages of one call.
pub(crate) type AnswerStream = BoxStream<'static, Result<Message, Status>>;

/// What one call reads, and what happens when it ends.
#[derive(Debug)]
pub(crate) struct Answers {
    connect: Arc<Connect>,
    operation: Arc<Operation>,
    reader: Reader,
    ended: bool,
}

impl Answers {
    pub(crate) fn new(connect: &Arc<Connect>, operation: Arc<Operation>, reader: Reader) -> Self {
        Self {
            connect: Arc::clone(connect),
            operation,
            reader,
            ended: false,
        }
    }

    /// The next message; `None` at the end of the result. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Option<Result<Message, Status>> {
        self.reader.next().await
    }

    /// Forgets what was sent to a client that will not ask for it again.
    pub(crate) fn forget_sent(&self) {
        self.operation.outbox.release_until(u64::MAX);
    }

    /// The stream. It ends with the result, with its error, or when another call takes the operation over.
    pub(crate) fn into_stream(self) -> AnswerStream {
        stream::unfold(self, |mut answers| async move {
            if answers.ended {
                return None;
            }
            let item = answers.reader.next().await?;
            answers.ended = item.is_err();
            Some((item, answers))
        })
        .boxed()
    }
}

/// An operation that cannot be reattached to lives as long as its call: a client that goes away cancels it.
impl Drop for Answers {
    fn drop(&mut self) {
        if !self.operation.reattachable {
            self.connect.release(self.operation.session, &self.operation.id);
        }
    }
}
