//! Whether a driver's JVM answers at all.
//!
//! A JVM that is frozen, or collects garbage without end, keeps its sockets open and says nothing. The kernel accepts
//! for it, so more than a connection is needed: an HTTP/2 server answers a client's preface with its settings
//! (RFC 9113, 3.4).

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The preface of a client, with empty settings.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";
/// Bytes of a frame's head.
const HEAD: usize = 9;

/// True if the Connect server on this port of the node answers within `patience`.
pub(crate) async fn answers(port: u16, patience: Duration) -> bool {
    matches!(tokio::time::timeout(patience, greet(port)).await, Ok(Ok(())))
}

async fn greet(port: u16) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(PREFACE).await?;
    let mut head = [0; HEAD];
    stream.read_exact(&mut head).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn a_listener_alone_is_no_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(!answers(port, Duration::from_millis(50)).await);
        let serve = async {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut preface = [0; PREFACE.len()];
                // The connection of the first try may be closed already.
                if stream.read_exact(&mut preface).await.is_ok() {
                    stream.write_all(&[0; HEAD]).await.ok();
                }
            }
        };
        let answered = answers(port, Duration::from_secs(10));
        tokio::select! {
            answered = answered => assert!(answered),
            () = serve => {}
        }
    }
}
