//! Raw tunnels from brokers to drivers.
//!
//! A broker opens a TLS connection with ALPN `berth-tunnel/1`, sends a preamble (4-byte big-endian length, JSON
//! `{"v":1,"driver":"<uuid>"}`), reads an answer of the same form (`{"ok":true}` or `{"ok":false,"error":".."}`),
//! and from then on talks to the driver's Spark Connect port. The agent does not look at what passes.

use std::sync::Arc;
use std::time::Duration;

use berth_core::ids::DriverId;
use berth_runtime::clock::boot_time;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::driver::{Driver, Phase};
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
        Err(error) => {
            return answer(
                &mut broker,
                &Answer {
                    ok: false,
                    error: Some(&error),
                },
            )
            .await;
        }
    };
    answer(
        &mut broker,
        &Answer {
            ok: true,
            error: None,
        },
    )
    .await?;
    metrics::gauge!("berth_agent_tunnels").increment(1);
    let mut phase = driver.phase.subscribe();
    let spliced = tokio::select! {
        spliced = tokio::io::copy_bidirectional_with_sizes(&mut broker, &mut upstream, 1 << 16, 1 << 16) => spliced.map(drop),
        _ = phase.wait_for(|phase| matches!(phase, Phase::Ended(_))) => Ok(()),
        () = lease_lost(&drivers) => Ok(()),
    };
    metrics::gauge!("berth_agent_tunnels").decrement(1);
    spliced
}

async fn open(preamble: &Preamble, drivers: &Drivers) -> Result<(Arc<Driver>, TcpStream), String> {
    if preamble.v != 1 {
        return Err(format!("tunnel version {} is not known here", preamble.v));
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

/// Ends when the node's lease is not surely held any more.
async fn lease_lost(drivers: &Drivers) {
    let mut until = drivers.held_until();
    loop {
        let left = until.borrow_and_update().saturating_sub(boot_time());
        if left.is_zero() {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(left) => {}
            changed = until.changed() => if changed.is_err() { return },
        }
    }
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

async fn answer<S: AsyncWrite + Unpin>(broker: &mut S, answer: &Answer<'_>) -> std::io::Result<()> {
    let bytes = serde_json::to_vec(answer).map_err(std::io::Error::other)?;
    broker
        .write_u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX))
        .await?;
    broker.write_all(&bytes).await?;
    broker.flush().await
}
