//! Following a prefix.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use berth_store::watch::{Change, follow};
use berth_store::{Event, Op, Revision, StoreRef, Txn, list_all};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;

use crate::support::{Link, Server, Stage, config, connect, delete_all, done, on_every_store, put, soon};

on_every_store! {
    a_follower_sees_the_snapshot_and_every_change_after_it,
    a_listing_of_everything_is_of_one_revision,
}

/// What a consumer of [`follow`] keeps.
pub(crate) struct Mirror {
    changes: BoxStream<'static, Change>,
    pub(crate) entries: BTreeMap<String, Bytes>,
    pub(crate) revision: Revision,
    pub(crate) snapshots: usize,
}

impl Mirror {
    pub(crate) fn of(store: &StoreRef, prefix: &str) -> Self {
        Self {
            changes: follow(Arc::clone(store), prefix),
            entries: BTreeMap::new(),
            revision: 0,
            snapshots: 0,
        }
    }

    /// Takes in one change.
    pub(crate) async fn step(&mut self) {
        let change = self.changes.next().await.unwrap();
        let revision = match change {
            Change::Snapshot(entries, revision) => {
                self.snapshots += 1;
                self.entries = entries
                    .into_iter()
                    .map(|entry| (entry.key, entry.value))
                    .collect();
                revision
            }
            Change::Batch(batch) => {
                batch.events.into_iter().for_each(|event| self.apply(event));
                batch.revision
            }
        };
        assert!(
            revision >= self.revision,
            "went back from {} to {revision}",
            self.revision
        );
        self.revision = revision;
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Put(entry) => drop(self.entries.insert(entry.key, entry.value)),
            Event::Delete { key, .. } => drop(self.entries.remove(&key)),
        }
    }

    /// Follows until everything up to `revision` is known.
    pub(crate) async fn until(&mut self, revision: Revision) {
        soon("the follower catches up", async {
            while self.revision < revision {
                self.step().await;
            }
        })
        .await;
    }

    fn shows(&self, expected: &[(&str, &str)]) {
        let seen: Vec<_> = self
            .entries
            .iter()
            .map(|(key, value)| (key.as_str(), &value[..]))
            .collect();
        let expected: Vec<_> = expected
            .iter()
            .map(|(key, value)| (*key, value.as_bytes()))
            .collect();
        assert_eq!(seen, expected);
    }
}

async fn a_follower_sees_the_snapshot_and_every_change_after_it(stage: Stage) {
    let store = &stage.store;
    put(store, "f/1", "a").await;
    put(store, "other", "x").await;
    let mut mirror = Mirror::of(store, "f/");
    mirror.until(1).await;
    mirror.shows(&[("f/1", "a")]);
    put(store, "f/2", "b").await;
    let last = done(store, Txn::new().put("f/3", "c").delete("f/1")).await;
    mirror.until(last).await;
    mirror.shows(&[("f/2", "b"), ("f/3", "c")]);
    let last = delete_all(store, "f/").await;
    mirror.until(last).await;
    mirror.shows(&[]);
    assert_eq!(mirror.snapshots, 1);
}

async fn a_listing_of_everything_is_of_one_revision(stage: Stage) {
    let store = &stage.store;
    for chunk in 0..70 {
        let txn = (0..100).fold(Txn::new(), |txn, n| txn.put(format!("l/{chunk:02}{n:02}"), "0"));
        done(store, txn).await;
    }
    let listing = async {
        let (entries, revision) = list_all(&**store, "l/").await.unwrap();
        assert_eq!(entries.len(), 7_000);
        assert!(entries.iter().all(|entry| entry.mod_revision <= revision));
        entries.iter().filter(|entry| entry.value == "1").count()
    };
    // The first and the last key change together: no listing shows one without the other.
    let changing = done(store, Txn::new().put("l/0000", "1").put("l/6999", "1"));
    let (seen, _) = tokio::join!(listing, changing);
    assert!(seen == 0 || seen == 2, "saw {seen} of 2 changes");
}

/// A reader that falls behind what the store remembers gets a new snapshot, not a gap.
#[tokio::test]
async fn a_follower_that_fell_behind_starts_from_a_new_snapshot() {
    let stage = Stage::embedded();
    put(&stage.store, "f/1", "a").await;
    let mut mirror = Mirror::of(&stage.store, "f/");
    mirror.until(1).await;
    done(&stage.store, Txn::new().delete("f/1").put("f/2", "b")).await;
    let forgotten = stage.forget().await;
    mirror.until(forgotten).await;
    mirror.shows(&[("f/2", "b")]);
    assert_eq!(mirror.snapshots, 2);
}

#[tokio::test]
async fn a_follower_on_etcd_survives_compaction_while_it_is_cut_off() {
    let server = Server::start().await;
    let store = server.connect().await;
    let link = Link::to(server.port()).await;
    let remote = connect(config(vec![link.url()])).await as StoreRef;
    put(&store, "f/1", "a").await;
    let mut mirror = Mirror::of(&remote, "f/");
    mirror.until(1).await;
    let seen = put(&store, "f/2", "b").await;
    mirror.until(seen).await;

    link.cut();
    done(&store, Txn::new().op(Op::Delete("f/1".into()))).await;
    let last = put(&store, "f/3", "c").await;
    server.compact(last).await;
    link.mend();
    mirror.until(last).await;
    mirror.shows(&[("f/2", "b"), ("f/3", "c")]);
    assert_eq!(mirror.snapshots, 2);
}

/// Nothing is compacted: the follower goes on where it was, without a new snapshot.
#[tokio::test]
async fn a_follower_on_etcd_notices_silence_and_resumes() {
    let server = Server::start().await;
    let store = server.connect().await;
    let link = Link::to(server.port()).await;
    let mut config = config(vec![link.url()]);
    config.request_timeout = Duration::from_millis(400);
    let remote = connect(config).await as StoreRef;
    let seen = put(&store, "f/1", "a").await;
    let mut mirror = Mirror::of(&remote, "f/");
    mirror.until(seen).await;
    let seen = put(&store, "f/2", "b").await;
    mirror.until(seen).await;

    // The open connection says nothing any more, without being closed.
    link.strand();
    let stranded_at = Instant::now();
    let last = put(&store, "f/3", "c").await;
    mirror.until(last).await;
    mirror.shows(&[("f/1", "a"), ("f/2", "b"), ("f/3", "c")]);
    assert_eq!(mirror.snapshots, 1);
    // Pings of the connection would have found out too, after 13 seconds or more.
    assert!(stranded_at.elapsed() < Duration::from_secs(12));
}
