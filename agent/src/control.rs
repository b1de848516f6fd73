//! The control channel: driver hosts connect to the agent's Unix socket and speak length-prefixed JSON frames.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use berth_runtime::tasks::Tasks;
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use serde::{Deserialize, Serialize};
use tokio::net::{UnixListener, UnixStream};
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use crate::driver::{Driver, Phase, Ready};
use crate::drivers::Drivers;

/// The protocol's version; a host says it in its hello.
const PROTOCOL: u32 = 1;
/// Longest frame of a host.
const MAX_FRAME_BYTES: usize = 1 << 20;
/// A host that has not said hello by then is not one.
const HELLO_DEADLINE: Duration = Duration::from_secs(10);

/// What a host says.
#[derive(Debug, Deserialize)]
#[serde(tag = "t", rename_all = "snake_case")]
enum FromHost {
    Hello {
        v: u32,
        driver: String,
        secret: String,
    },
    Phase {
        phase: String,
    },
    Ready {
        port: u16,
        jvm_pid: u32,
        spark_version: String,
    },
}

/// What a host is told.
#[derive(Debug, Serialize)]
#[serde(tag = "t", rename_all = "snake_case")]
enum ToHost {
    Fence { deadline_millis: u64 },
}

type Channel = Framed<UnixStream, LengthDelimitedCodec>;

/// Serves hosts on `path` until the tasks end.
///
/// # Errors
/// When the socket cannot be made.
pub(crate) fn listen(path: &Path, drivers: &Arc<Drivers>, tasks: &Tasks) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    let (drivers, owner) = (Arc::clone(drivers), tasks.clone());
    tasks.spawn("control channel", async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let drivers = Arc::clone(&drivers);
                    owner.spawn("driver host", async move {
                        if let Err(error) = serve(stream, &drivers).await {
                            tracing::debug!(%error, "a driver host's channel ended");
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "the control socket does not accept");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    });
    Ok(())
}

async fn serve(stream: UnixStream, drivers: &Arc<Drivers>) -> std::io::Result<()> {
    let codec = LengthDelimitedCodec::builder()
        .max_frame_length(MAX_FRAME_BYTES)
        .new_codec();
    let mut channel = Framed::new(stream, codec);
    let Ok(Some(hello)) = tokio::time::timeout(HELLO_DEADLINE, channel.next()).await else {
        return Ok(());
    };
    let Some(driver) = greet(&parse(&hello?)?, drivers) else {
        tracing::warn!("something that is not a driver of this agent spoke on the control socket");
        return Ok(());
    };
    let mut fence = drivers.held_until();
    loop {
        let until = *fence.borrow_and_update();
        let deadline_millis = u64::try_from(until.as_millis()).unwrap_or(u64::MAX);
        tell(&mut channel, &ToHost::Fence { deadline_millis }).await?;
        tokio::select! {
            frame = channel.next() => match frame {
                Some(frame) => hear(&driver, parse(&frame?)?, drivers),
                None => return Ok(()),
            },
            changed = fence.changed() => {
                if changed.is_err() {
                    return Ok(());
                }
            }
        }
    }
}

fn parse(frame: &[u8]) -> std::io::Result<FromHost> {
    serde_json::from_slice(frame).map_err(std::io::Error::other)
}

async fn tell(channel: &mut Channel, message: &ToHost) -> std::io::Result<()> {
    channel
        .send(Bytes::from(
            serde_json::to_vec(message).map_err(std::io::Error::other)?,
        ))
        .await
}

fn greet(hello: &FromHost, drivers: &Drivers) -> Option<Arc<Driver>> {
    let FromHost::Hello {
        v: PROTOCOL,
        driver,
        secret,
    } = hello
    else {
        return None;
    };
    let driver = drivers.get(driver.parse().ok()?)?;
    (driver.secret == *secret).then_some(driver)
}

fn hear(driver: &Driver, message: FromHost, drivers: &Drivers) {
    match message {
        FromHost::Hello { .. } => {}
        FromHost::Phase { phase } => driver.advance(Phase::Starting(phase)),
        FromHost::Ready {
            port,
            jvm_pid,
            spark_version,
        } => {
            driver.advance(Phase::Ready(Ready {
                port,
                jvm_pid,
                spark_version,
            }));
            drivers.changed();
        }
    }
}

impl Driver {
    /// Moves to a phase, unless the driver has ended or was ready before.
    fn advance(&self, next: Phase) {
        self.phase.send_if_modified(|phase| {
            let moves = matches!(phase, Phase::Starting(_)) && *phase != next;
            if moves {
                *phase = next;
            }
            moves
        });
    }
}
