//! A port on which HTTP and another protocol are told apart by the first byte.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

use crate::tasks::Shutdown;

/// A connection of whatever kind.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A protocol that is not HTTP.
pub trait Protocol: Send + Sync + fmt::Debug + 'static {
    /// True if a connection that begins with this byte speaks it.
    fn begins_with(&self, byte: u8) -> bool;

    /// Serves a connection to its end. It should stop between two calls once the tasks drain.
    fn serve(
        self: Arc<Self>,
        stream: Box<dyn Stream>,
        shutdown: Shutdown,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

/// A stream whose first byte was looked at.
#[derive(Debug)]
pub(super) struct Peeked<S> {
    first: Option<u8>,
    stream: S,
}

impl<S: AsyncRead + Unpin> Peeked<S> {
    /// Waits for the first byte; `None` when the client leaves without one. Cancel-safe.
    pub(super) async fn new(mut stream: S) -> io::Result<Option<(u8, Self)>> {
        let mut byte = [0];
        if stream.read(&mut byte).await? == 0 {
            return Ok(None);
        }
        let first = Some(byte[0]);
        Ok(Some((byte[0], Self { first, stream })))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Peeked<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buffer.remaining() > 0
            && let Some(first) = self.first.take()
        {
            buffer.put_slice(&[first]);
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Peeked<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_byte_is_read_again() {
        let (byte, mut stream) = Peeked::new(&b"GET /"[..]).await.unwrap().unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        assert_eq!((byte, text.as_str()), (b'G', "GET /"));
        assert!(Peeked::new(&b""[..]).await.unwrap().is_none());
    }
}
