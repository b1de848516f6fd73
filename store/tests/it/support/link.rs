//! A stretch of network between a client and etcd that a test can break.

use berth_runtime::tasks::{Shutdown, Tasks};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::soon;

/// What the link does with bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Traffic {
    /// They go through, except on connections older than the given one, which stay open and silent.
    Flows { from: usize },
    /// They stay where they are. A cable pulled without a word.
    Stalls,
    /// Connections are closed, and new ones too.
    Breaks,
}

/// A TCP forwarder.
pub(crate) struct Link {
    port: u16,
    traffic: watch::Sender<Traffic>,
    accepted: watch::Receiver<usize>,
    tasks: Tasks,
}

impl Link {
    /// A link that leads to `target` on this machine.
    pub(crate) async fn to(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (traffic, seen) = watch::channel(Traffic::Flows { from: 0 });
        let (count, accepted) = watch::channel(0);
        let tasks = Tasks::new(Shutdown::new());
        let connections = tasks.clone();
        tasks.spawn("link", async move {
            while let Ok((client, _)) = listener.accept().await {
                let (number, seen) = (*count.borrow(), seen.clone());
                connections.spawn("linked connection", async move {
                    forward(client, target, number, seen).await;
                });
                count.send_modify(|count| *count += 1);
            }
        });
        Self {
            port,
            traffic,
            accepted,
            tasks,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// All is well, for all connections.
    pub(crate) fn mend(&self) {
        self.traffic.send_replace(Traffic::Flows { from: 0 });
    }

    /// Nothing goes through any more, and nobody is told.
    pub(crate) fn stall(&self) {
        self.traffic.send_replace(Traffic::Stalls);
    }

    /// The connections there are fall silent for good, new ones work: what a firewall that forgot them does.
    pub(crate) fn strand(&self) {
        let from = *self.accepted.borrow();
        self.traffic.send_replace(Traffic::Flows { from });
    }

    /// Connections are closed, and new ones too.
    pub(crate) fn cut(&self) {
        self.traffic.send_replace(Traffic::Breaks);
    }

    /// Waits until somebody has tried to connect `more` times from now.
    pub(crate) async fn tried(&self, more: usize) {
        let mut accepted = self.accepted.clone();
        let wanted = *accepted.borrow() + more;
        soon("tries to connect", accepted.wait_for(|count| *count >= wanted))
            .await
            .unwrap();
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.tasks.shutdown().abort();
    }
}

async fn forward(mut client: TcpStream, target: u16, number: usize, traffic: watch::Receiver<Traffic>) {
    let mut broken = traffic.clone();
    let both_ways = async {
        let Ok(mut server) = TcpStream::connect(("127.0.0.1", target)).await else {
            return;
        };
        let (client_reads, client_writes) = client.split();
        let (server_reads, server_writes) = server.split();
        tokio::select! {
            () = pump(client_reads, server_writes, number, traffic.clone()) => {}
            () = pump(server_reads, client_writes, number, traffic) => {}
        }
    };
    tokio::select! {
        () = both_ways => {}
        _ = broken.wait_for(|traffic| *traffic == Traffic::Breaks) => {}
    }
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    number: usize,
    mut traffic: watch::Receiver<Traffic>,
) {
    let flows = |traffic: &Traffic| matches!(traffic, Traffic::Flows { from } if number >= *from);
    let mut buffer = vec![0; 64 << 10];
    loop {
        let Ok(length @ 1..) = from.read(&mut buffer).await else {
            return;
        };
        if traffic.wait_for(flows).await.is_err() {
            return;
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
