//! Clients that vanish: a machine without power or network ends no connection, so the kernel asks after it.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

/// How long a connection is silent before its client is asked after.
const IDLE: Duration = Duration::from_secs(10 * 60);
/// How often it is asked again.
const INTERVAL: Duration = Duration::from_secs(60);
/// After so many questions without an answer the connection is over: a silent client is gone after a quarter of an
/// hour. A machine that sleeps for less keeps its sessions.
const PROBES: u32 = 5;

/// Has the kernel end a connection whose client's machine does not answer any more.
///
/// # Errors
/// The kernel's.
pub(super) fn watch(stream: &TcpStream) -> io::Result<()> {
    let asked = TcpKeepalive::new()
        .with_time(IDLE)
        .with_interval(INTERVAL)
        .with_retries(PROBES);
    SockRef::from(stream).set_tcp_keepalive(&asked)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_client_that_vanishes_is_noticed_within_a_quarter_of_an_hour() {
        // hs2#43
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        watch(&accepted).unwrap();
        let socket = SockRef::from(&accepted);
        assert!(socket.keepalive().unwrap());
        let (idle, interval) = (
            socket.tcp_keepalive_time().unwrap(),
            socket.tcp_keepalive_interval().unwrap(),
        );
        let probes = socket.tcp_keepalive_retries().unwrap();
        assert_eq!(idle + interval * probes, Duration::from_secs(15 * 60));
    }
}
