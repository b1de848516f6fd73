//! Raw tunnels from brokers to drivers.
//!
//! A broker opens a TLS connection with ALPN `berth-tunnel/1`, sends a preamble (4-byte big-endian length, JSON
//! `{"v":1,"driver":"<uuid>"}`), reads an answer of the same form (`{"ok":true}` or `{"ok":false,"error":".."}`),
//! and from then on talks to the driver's Spark Connect port. The agent does not look at what passes.

use std::sync::Arc;
use std::time::Duration;

use berth_core::ids::DriverId;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::io::InspectReader;

use crate::driver::Driver;
use crate::drivers::Drivers;

/// ALPN protocol of tunnels.
pub(crate) const ALPN: &[u8] = b"berth-tunnel/1";
/// Longest preamble.
const MAX_PREAMBLE_BYTES: u32 = 4096;
/// A broker that has not sent its preamble by then is not one.
const PREAMBLE_DEADLINE: Duration = Duration::from_secs(10);

#[derive(Debug, Deserialize)]
struct Preamble {
    v: u32,
    driver: DriverId,
}

#[derive(Debug, Serialize)]
struct Answer<'a> {
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

/// Serves one tunnel until either side, the driver or the node's lease ends.
pub(crate) async fn serve<S>(mut broker: S, drivers: Arc<Drivers>) -> std::io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let preamble = tokio::time::timeout(PREAMBLE_DEADLINE, read_preamble(&mut broker)).await??;
    let (driver, mut upstream) = match open(&preamble, &drivers).await {
        Ok(opened) => opened,
        Err(error) => return answer(&mut broker, Some(&error)).await,
    };
    answer(&mut broker, None).await?;
    let used = Arc::clone(&driver);
    let mut upstream = InspectReader::new(&mut upstream, move |bytes: &[u8]| {
        if !bytes.is_empty() {
            used.used();
        }
    });
    let _open = Open::count();
    let mut phase = driver.phase.subscribe();
    tokio::select! {
        spliced = tokio::io::copy_bidirectional_with_sizes(&mut broker, &mut upstream, 1 << 16, 1 << 16) => spliced.map(drop),
        _ = phase.wait_for(crate::driver::Phase::has_ended) => Ok(()),
        () = drivers.lease().lost() => Ok(()),
    }
}

/// Counts an open tunnel for as long as it lives.
struct Open;

impl Open {
    fn count() -> Self {
        metrics::gauge!("berth_agent_tunnels").increment(1);
        Self
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        metrics::gauge!("berth_agent_tunnels").decrement(1);
    }
}

async fn open(preamble: &Preamble, drivers: &Drivers) -> Result<(Arc<Driver>, TcpStream), String> {
    if preamble.v != 1 {
        return Err(format!("tunnel version {} is not known here", preamble.v));
    }
    if !drivers.lease().is_held() {
        return Err("this node does not surely hold its lease".to_owned());
    }
    let driver = drivers
        .get(preamble.driver)
        .ok_or_else(|| format!("no driver {} on this node", preamble.driver))?;
    let ready = driver
        .ready()
        .ok_or_else(|| format!("driver {} is not serving", preamble.driver))?;
    let upstream = TcpStream::connect(("127.0.0.1", ready.port)).await;
    let upstream =
        upstream.map_err(|error| format!("driver {} does not accept: {error}", preamble.driver))?;
    upstream.set_nodelay(true).map_err(|error| error.to_string())?;
    Ok((driver, upstream))
}

async fn read_preamble<S: AsyncRead + Unpin>(broker: &mut S) -> std::io::Result<Preamble> {
    let length = broker.read_u32().await?;
    if length > MAX_PREAMBLE_BYTES {
        return Err(std::io::Error::other(format!(
            "a preamble of {length} bytes is not one"
        )));
    }
    let mut bytes = vec![0; length as usize];
    broker.read_exact(&mut bytes).await?;
    serde_json::from_slice(&bytes).map_err(std::io::Error::other)
}

async fn answer<S: AsyncWrite + Unpin>(broker: &mut S, error: Option<&str>) -> std::io::Result<()> {
    let ok = error.is_none();
    let bytes = serde_json::to_vec(&Answer { ok, error })?;
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    broker.write_u32(length).await?;
    broker.write_all(&bytes).await?;
    broker.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_preamble_is_read_and_one_that_is_too_long_is_refused() {
        let text = br#"{"v":1,"driver":"6f0c1c0e-1a0b-4c3e-9a53-6f3f3a1b2c3d"}"#;
        let mut sent = u32::try_from(text.len()).unwrap().to_be_bytes().to_vec();
        sent.extend_from_slice(text);
        let preamble = read_preamble(&mut sent.as_slice()).await.unwrap();
        assert_eq!((preamble.v, preamble.driver.to_string().len()), (1, 36));
        let long = (MAX_PREAMBLE_BYTES + 1).to_be_bytes();
        assert!(read_preamble(&mut long.as_slice()).await.is_err());
    }

    #[tokio::test]
    async fn an_answer_says_why() {
        let mut said = Vec::new();
        answer(&mut said, Some("no")).await.unwrap();
        assert_eq!(&said[4..], br#"{"ok":false,"error":"no"}"#);
        said.clear();
        answer(&mut said, None).await.unwrap();
        assert_eq!(&said[4..], br#"{"ok":true}"#);
    }
}
