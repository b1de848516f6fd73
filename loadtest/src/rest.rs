//! An HTTP/1.1 client that reads JSON pages and keeps its connections.

use std::sync::{Mutex, PoisonError};

use anyhow::{Context, ensure};
use berth_runtime::tasks::Tasks;
use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

type Connection = SendRequest<Empty<Bytes>>;

/// One server. As many connections are open as requests were ever under way at once.
#[derive(Debug)]
pub struct Rest {
    authority: String,
    token: Option<String>,
    tasks: Tasks,
    idle: Mutex<Vec<Connection>>,
}

impl Rest {
    /// A client of `host:port`; its connections are tasks of `tasks`.
    pub fn new(authority: String, token: Option<String>, tasks: Tasks) -> Self {
        Self {
            authority,
            token,
            tasks,
            idle: Mutex::default(),
        }
    }

    /// Reads a page; gives its length.
    ///
    /// # Errors
    /// When there is no answer, or one that is not 200.
    pub async fn get(&self, path: &str) -> anyhow::Result<usize> {
        let mut connection = match self.take() {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let request = http::Request::get(path).header(HOST, &self.authority);
        let request = match &self.token {
            Some(token) => request.header(AUTHORIZATION, format!("Bearer {token}")),
            None => request,
        };
        let answer = connection.send_request(request.body(Empty::new())?).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        ensure!(status == http::StatusCode::OK, "GET {path} answers {status}");
        // Its last answer has been read, so the next request need not wait for it.
        self.put(connection);
        Ok(body.len())
    }

    fn take(&self) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(connection) = idle.pop() {
            if connection.is_ready() {
                return Some(connection);
            }
        }
        None
    }

    fn put(&self, connection: Connection) {
        self.idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(connection);
    }

    async fn connect(&self) -> anyhow::Result<Connection> {
        let socket = TcpStream::connect(&self.authority)
            .await
            .with_context(|| format!("connecting to {}", self.authority))?;
        socket.set_nodelay(true)?;
        let (connection, driver) = handshake(TokioIo::new(socket)).await?;
        // A connection that breaks is told to the request on it.
        self.tasks.spawn("rest-connection", async move {
            driver.await.ok();
        });
        Ok(connection)
    }
}
