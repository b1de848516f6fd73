//! A real S3 server, SeaweedFS, with one bucket; on ports and in a directory of its own, ending with its test.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use berth_store::blobs::{Blobs, S3Config};
use bytes::Bytes;
use tempfile::TempDir;

use super::eventually;

/// A port may be taken by somebody else between its choice and its use.
const STARTS: usize = 5;
const IDENTITIES: &str = r#"{"identities": [{"name": "berth", "actions": ["Read", "Write", "List"],
    "credentials": [{"accessKey": "berth", "secretKey": "sesame"}]}]}"#;

/// The server; its one bucket is `berth`.
pub(crate) struct Bucket {
    _directory: TempDir,
    port: u16,
    filer: u16,
    child: Child,
}

impl Bucket {
    pub(crate) async fn start() -> Self {
        for _ in 0..STARTS {
            let mut bucket = Self::launch();
            if bucket.serves().await {
                return bucket;
            }
        }
        panic!("weed did not start {STARTS} times in a row");
    }

    fn launch() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let identities = directory.path().join("identities.json");
        std::fs::write(&identities, IDENTITIES).unwrap();
        let held: Vec<_> = (0..8)
            .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
            .collect();
        let ports: Vec<_> = held
            .iter()
            .map(|held| held.local_addr().unwrap().port())
            .collect();
        drop(held);
        let parts = ["s3", "filer", "volume", "master"];
        let names = parts
            .iter()
            .flat_map(|part| [format!("{part}.port"), format!("{part}.port.grpc")]);
        let weed = std::env::var_os("BERTH_WEED").unwrap_or_else(|| "weed".into());
        let log = std::fs::File::create(directory.path().join("log")).unwrap();
        let child = Command::new(weed)
            .args([
                "server",
                "-ip=127.0.0.1",
                "-filer",
                "-s3",
                "-volume.max=8",
                "-s3.port.iceberg=0",
                "-s3.port.lance=0",
            ])
            .args(["-master.volumeSizeLimitMB=64", "-volume.minFreeSpace=1MiB"])
            .arg(format!("-dir={}", directory.path().display()))
            .arg(format!("-s3.config={}", identities.display()))
            .args(names.zip(&ports).map(|(name, port)| format!("-{name}={port}")))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| {
                panic!("weed could not be run ({error}); `make deps` installs it for BERTH_WEED")
            });
        Self {
            _directory: directory,
            port: ports[0],
            filer: ports[2],
            child,
        }
    }

    async fn serves(&mut self) -> bool {
        let (filer, blobs, child) = (self.filer, self.blobs("berth", "sesame"), &mut self.child);
        eventually("the S3 server serves", || {
            let ended = child.try_wait().unwrap().is_some();
            let blobs = blobs.clone();
            async move {
                let serves = !ended
                    && make_bucket(filer).is_ok()
                    && blobs.put(Bytes::from_static(b"up")).await.is_ok();
                (serves || ended).then_some(serves)
            }
        })
        .await
    }

    /// Blobs in the bucket of this name, with this secret.
    pub(crate) fn blobs(&self, bucket: &str, secret: &str) -> Blobs {
        let config = S3Config {
            bucket: bucket.to_owned(),
            prefix: "some/where".to_owned(),
            region: Some("here".to_owned()),
            endpoint: Some(format!("http://127.0.0.1:{}", self.port)),
        };
        let credentials = [("AWS_ACCESS_KEY_ID", "berth"), ("AWS_SECRET_ACCESS_KEY", secret)];
        Blobs::s3(
            config,
            credentials.map(|(name, value)| (name.to_owned(), value.to_owned())),
        )
        .unwrap()
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Bucket {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A bucket is a directory of the server's filer.
fn make_bucket(filer: u16) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", filer))?;
    stream.write_all(
        b"POST /buckets/berth/ HTTP/1.1\r\nHost: filer\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let made = answer.starts_with("HTTP/1.1 20") || answer.starts_with("HTTP/1.1 409");
    if made {
        Ok(())
    } else {
        Err(std::io::Error::other(answer))
    }
}
