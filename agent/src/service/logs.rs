//! Reads and follows a driver's log in chunks.

use std::io::SeekFrom;
use std::sync::Arc;
use std::time::Duration;

use berth_proto::agent as api;
use futures_util::StreamExt;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tonic::Status;

use super::Replies;
use crate::driver::Driver;

/// Bytes of one message.
const CHUNK: usize = 64 << 10;
/// The last lines are looked for in so much of the log.
const TAIL_BYTES: u64 = 1 << 20;
/// How often a followed log is looked at.
const POLL: Duration = Duration::from_millis(250);

/// The log from its last `lines`, or whole if that is 0; until the driver's end if it is followed.
pub(super) async fn read(
    driver: Arc<Driver>,
    lines: u32,
    follow: bool,
) -> Result<Replies<api::LogChunk>, Status> {
    let path = driver.log_path();
    let failed =
        |error: std::io::Error| Status::internal(format!("{} cannot be read: {error}", path.display()));
    let mut file = File::open(&path).await.map_err(failed)?;
    seek_tail(&mut file, lines).await.map_err(failed)?;
    let chunks = futures_util::stream::unfold(file, move |mut file| {
        let driver = Arc::clone(&driver);
        async move {
            let chunk = next_chunk(&mut file, &driver, follow).await.transpose()?;
            let chunk = chunk.map(|data| api::LogChunk { data });
            Some((chunk.map_err(|error| Status::internal(error.to_string())), file))
        }
    });
    Ok(chunks.boxed())
}

async fn next_chunk(file: &mut File, driver: &Driver, follow: bool) -> std::io::Result<Option<Vec<u8>>> {
    let mut data = vec![0; CHUNK];
    loop {
        // Asked before reading: what is written before the end is still read.
        let ended = driver.has_ended();
        let read = file.read(&mut data).await?;
        if read > 0 {
            data.truncate(read);
            return Ok(Some(data));
        }
        if ended || !follow {
            return Ok(None);
        }
        tokio::time::sleep(POLL).await;
        // A log that was cut goes on at its new end.
        if file.stream_position().await? > file.metadata().await?.len() {
            file.seek(SeekFrom::Start(0)).await?;
        }
    }
}

async fn seek_tail(file: &mut File, lines: u32) -> std::io::Result<()> {
    if lines == 0 {
        return Ok(());
    }
    let length = file.metadata().await?.len();
    let from = length.saturating_sub(TAIL_BYTES);
    file.seek(SeekFrom::Start(from)).await?;
    let mut tail = Vec::new();
    (&mut *file).take(TAIL_BYTES).read_to_end(&mut tail).await?;
    let offset = tail_offset(&tail, lines as usize) as u64;
    file.seek(SeekFrom::Start(from + offset)).await?;
    Ok(())
}

/// Where the last lines of a text begin.
fn tail_offset(text: &[u8], lines: usize) -> usize {
    let ends = text.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n');
    let of_last_line = usize::from(text.ends_with(b"\n"));
    let before = ends.skip(of_last_line).nth(lines.saturating_sub(1));
    before.map_or(0, |(at, _)| at + 1)
}

#[cfg(test)]
mod tests {
    use super::tail_offset;

    #[test]
    fn the_tail_of_a_log_has_so_many_lines() {
        let tail = |text: &'static [u8], lines| &text[tail_offset(text, lines)..];
        assert_eq!(tail(b"a\nb\nc\n", 2), b"b\nc\n");
        assert_eq!(tail(b"a\nb\nc", 1), b"c");
        assert_eq!(tail(b"a\nb\n", 5), b"a\nb\n");
        assert_eq!(tail(b"", 1), b"");
    }
}
