//! The control channel: driver hosts connect to the agent's Unix socket and speak length-prefixed JSON frames.

pub(crate) mod frames;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use berth_runtime::tasks::Tasks;
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use crate::driver::{Driver, Phase, Ready};
use crate::drivers::Drivers;
use crate::process::is_ending;
use frames::{FromHost, PROTOCOL, ToHost, parse};

/// Longest frame of a host: a result with its rows.
const MAX_FRAME_BYTES: usize = 16 << 20;
/// A host that has not said hello by then is not one.
const HELLO_DEADLINE: Duration = Duration::from_secs(10);
/// Frames that wait for a host; a call finds the channel full and says so.
const MAX_WAITING: usize = 128;

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
        let leaving = owner.shutdown().clone();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = leaving.draining() => return,
            };
            match accepted {
                Ok((stream, _)) => {
                    let drivers = Arc::clone(&drivers);
                    let leaving = owner.shutdown().clone();
                    owner.spawn("driver host", async move {
                        let served = tokio::select! {
                            served = serve(stream, &drivers) => served,
                            // What a host then says unheard, it says again to the next agent.
                            () = leaving.draining() => return,
                        };
                        if let Err(error) = served {
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

type Channel = Framed<UnixStream, LengthDelimitedCodec>;

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
    let (to_host, mut frames) = mpsc::channel(MAX_WAITING);
    driver.connected(to_host);
    // What an earlier connection may have lost.
    for frame in drivers.statements().unfinished(driver.id) {
        tell(&mut channel, &frame).await?;
    }
    let mut fence = drivers.held_until();
    loop {
        let until = *fence.borrow_and_update();
        let deadline_boot_ms = u64::try_from(until.as_millis()).unwrap_or(u64::MAX);
        tell(&mut channel, &ToHost::Fence { deadline_boot_ms }).await?;
        loop {
            tokio::select! {
                frame = channel.next() => match frame {
                    Some(frame) => hear(&driver, parse(&frame?)?, drivers).await?,
                    None => return Ok(()),
                },
                frame = frames.recv() => match frame {
                    Some(frame) => tell(&mut channel, &frame).await?,
                    // A newer connection has taken over.
                    None => return Ok(()),
                },
                changed = fence.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                    break;
                }
            }
        }
    }
}

async fn tell(channel: &mut Channel, message: &ToHost) -> std::io::Result<()> {
    channel.send(Bytes::from(serde_json::to_vec(message)?)).await
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

async fn hear(driver: &Arc<Driver>, message: FromHost, drivers: &Arc<Drivers>) -> std::io::Result<()> {
    driver.heard();
    match message {
        FromHost::Hello { .. } | FromHost::Beat { busy: false } => {}
        FromHost::Beat { busy: true } => driver.used(),
        FromHost::Phase { phase } => drop(driver.advance(Phase::Starting(phase))),
        FromHost::Ready {
            port,
            jvm_pid,
            spark_version,
            app_id,
            ui_url,
        } => {
            let ready = Ready {
                port,
                jvm_pid,
                spark_version,
                app_id,
                ui_url,
            };
            if driver.advance(Phase::Ready(ready)) {
                drivers.became_ready(driver);
            }
        }
        FromHost::Begin { id } => {
            // What a JVM that is being killed may still begin would be lost half-way.
            let ending = driver.ready().is_none_or(|ready| is_ending(ready.jvm_pid));
            if !ending && drivers.statements().begin(driver.id, &id) {
                driver.tell(ToHost::Go { id });
            }
        }
        FromHost::Progress(progress) => {
            driver.used();
            drivers.statements().progressed(driver.id, &progress);
        }
        // An error ends the connection; the host keeps the result and tells it again on the next one.
        FromHost::Result(result) => {
            let id = result.id.clone();
            driver.used();
            drivers.statements().finish(driver.id, *result).await?;
            driver.tell(ToHost::Kept { id });
        }
        FromHost::Answer(answer) => driver.answered(answer),
    }
    Ok(())
}
