//! A real etcd on ports of its own, in a directory of its own, that ends with its test.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use berth_store::StoreRef;
use berth_store::etcd::{Etcd, EtcdConfig};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::{connect, eventually};

/// A port may be taken by somebody else between its choice and its use.
const STARTS: usize = 5;

/// An etcd process and its data.
pub(crate) struct Server {
    name: String,
    directory: TempDir,
    client_port: u16,
    peer_port: u16,
    /// `--initial-cluster`: all members with their peer URLs.
    cluster: String,
    /// Where its certificates are, if it wants them of its clients.
    certs: Option<PathBuf>,
    child: Option<Child>,
}

impl Server {
    /// A cluster of one, serving.
    pub(crate) async fn start() -> Self {
        Self::cluster(1).await.remove(0)
    }

    /// A cluster of one that wants certificates of the CA in `certs`, serving.
    pub(crate) async fn start_with_tls(certs: &Path) -> Self {
        Self::launch(1, Some(certs)).await.remove(0)
    }

    /// A cluster of `size` members, serving.
    pub(crate) async fn cluster(size: usize) -> Vec<Self> {
        Self::launch(size, None).await
    }

    async fn launch(size: usize, certs: Option<&Path>) -> Vec<Self> {
        for _ in 0..STARTS {
            let mut members = Self::plan(size, certs);
            members.iter_mut().for_each(Self::start_again);
            if serves(&mut members).await {
                return members;
            }
        }
        panic!("etcd did not start {STARTS} times in a row");
    }

    fn plan(size: usize, certs: Option<&Path>) -> Vec<Self> {
        let ports: Vec<_> = (0..2 * size)
            .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
            .collect();
        let ports: Vec<_> = ports
            .iter()
            .map(|port| port.local_addr().unwrap().port())
            .collect();
        let names: Vec<_> = (0..size).map(|n| format!("m{n}")).collect();
        let peers = names.iter().zip(&ports);
        let cluster: Vec<_> = peers
            .map(|(name, port)| format!("{name}=http://127.0.0.1:{port}"))
            .collect();
        (0..size)
            .map(|n| Self {
                name: names[n].clone(),
                directory: tempfile::tempdir().unwrap(),
                client_port: ports[size + n],
                peer_port: ports[n],
                cluster: cluster.join(","),
                certs: certs.map(Path::to_owned),
                child: None,
            })
            .collect()
    }

    /// Starts the process, again after [`Server::kill`], on the same ports and data.
    pub(crate) fn start_again(&mut self) {
        let client = self.url();
        let peer = format!("http://127.0.0.1:{}", self.peer_port);
        let log = self.directory.path().join("log");
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .unwrap();
        let etcd = std::env::var_os("BERTH_ETCD").unwrap_or_else(|| "etcd".into());
        let child = Command::new(etcd)
            .args(["--name", &self.name, "--initial-cluster", &self.cluster])
            .args([
                "--listen-client-urls",
                &client,
                "--advertise-client-urls",
                &client,
            ])
            .args([
                "--listen-peer-urls",
                &peer,
                "--initial-advertise-peer-urls",
                &peer,
            ])
            .arg("--data-dir")
            .arg(self.directory.path().join("data"))
            .args(self.tls_arguments())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| {
                panic!(
                    "etcd could not be run ({error}); `make deps` installs it, BERTH_ETCD names another one"
                )
            });
        self.child = Some(child);
    }

    fn tls_arguments(&self) -> Vec<String> {
        let Some(certs) = &self.certs else {
            return Vec::new();
        };
        let file = |flag: &str, name: &str| format!("--{flag}={}", certs.join(name).display());
        vec![
            "--client-cert-auth".to_owned(),
            file("trusted-ca-file", "ca.pem"),
            file("cert-file", "agent.pem"),
            file("key-file", "agent.key"),
        ]
    }

    /// Ends the process as a power cut would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Stops the process where it is: its connections stay open and silent.
    pub(crate) fn freeze(&self) {
        let pid = self.signal(Signal::SIGSTOP);
        // It may still answer until all its threads have stopped.
        let stopped = waitpid(pid, Some(WaitPidFlag::WUNTRACED)).unwrap();
        assert!(matches!(stopped, WaitStatus::Stopped(..)), "{stopped:?}");
    }

    /// Lets a stopped process go on.
    pub(crate) fn thaw(&self) {
        let _pid = self.signal(Signal::SIGCONT);
    }

    fn signal(&self, signal: Signal) -> Pid {
        let child = self.child.as_ref().unwrap();
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
        kill(pid, signal).unwrap();
        pid
    }

    fn has_ended(&mut self) -> bool {
        self.child
            .as_mut()
            .is_none_or(|child| child.try_wait().unwrap().is_some())
    }

    pub(crate) fn port(&self) -> u16 {
        self.client_port
    }

    pub(crate) fn url(&self) -> String {
        let scheme = if self.certs.is_some() { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.client_port)
    }

    /// How a test reaches this member. A try may take longer than in production: the machine is busy.
    pub(crate) fn config(&self) -> EtcdConfig {
        let file = |name: &str| self.certs.as_ref().map(|certs| certs.join(name));
        EtcdConfig {
            ca: file("ca.pem"),
            cert: file("broker.pem"),
            key: file("broker.key"),
            ..config(vec![self.url()])
        }
    }

    pub(crate) async fn connect(&self) -> StoreRef {
        connect(self.config()).await
    }

    /// Forgets history up to `revision`.
    pub(crate) async fn compact(&self, revision: i64) {
        let mut client = etcd_client::Client::connect([self.url()], None).await.unwrap();
        client.compact(revision, None).await.unwrap();
    }

    /// The leader's position among the members, once there is one.
    pub(crate) async fn leader_of(members: &[Self]) -> usize {
        eventually("a leader", || async {
            for (n, member) in members.iter().enumerate() {
                if member.child.is_some() && leads(member).await == Some(true) {
                    return Some(n);
                }
            }
            None
        })
        .await
    }

    pub(crate) fn log(directory: &Path) -> String {
        std::fs::read_to_string(directory.join("log")).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = Self::log(self.directory.path());
            let from = log.char_indices().rev().nth(2_000).map_or(0, |(at, _)| at);
            eprintln!("the last of {}'s log:\n{}", self.name, &log[from..]);
        }
        self.kill();
    }
}

/// Plain access for tests.
pub(crate) fn config(endpoints: Vec<String>) -> EtcdConfig {
    let mut config = EtcdConfig::new(endpoints);
    config.request_timeout = Duration::from_secs(2);
    config
}

/// Whether a member is the leader, if it answers.
async fn leads(member: &Server) -> Option<bool> {
    let client = etcd_client::Client::connect([member.url()], None).await;
    let status = client.ok()?.status().await.ok()?;
    Some(status.leader() == status.header()?.member_id())
}

/// Waits until every member answers; false if one has ended instead.
async fn serves(members: &mut [Server]) -> bool {
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    for member in members {
        while Etcd::connect(member.config()).await.is_err() {
            ticks.tick().await;
            if member.has_ended() || tokio::time::Instant::now() > deadline {
                eprintln!("{}", Server::log(member.directory.path()));
                return false;
            }
        }
    }
    true
}
