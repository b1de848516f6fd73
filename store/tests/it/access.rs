//! Getting into etcd: credentials, certificates, members that are away.

use std::net::TcpListener;
use std::time::Duration;

use berth_runtime::certs;
use berth_store::etcd::{ConnectError, Etcd};
use berth_store::watch::{Change, follow};
use berth_store::{Store, StoreError, StoreRef, Txn, list_all};
use futures_util::StreamExt;

use crate::support::{Server, config, connect, done, now, put, soon};

/// A port on which nobody listens.
fn closed_port() -> String {
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    format!("http://127.0.0.1:{port}")
}

#[tokio::test]
async fn an_etcd_that_is_away_is_named_and_said_to_be_away() {
    let url = closed_port();
    let error = Etcd::connect(config(vec![url.clone()])).await.unwrap_err();
    assert!(error.to_string().contains(&url), "{error}");
    let ConnectError::Store { source, .. } = error else {
        panic!("{error:?}")
    };
    assert!(
        matches!(&source, StoreError::Unavailable { reason } if reason.contains("refused")),
        "{source}"
    );
}

#[tokio::test]
async fn a_member_that_is_away_or_frozen_is_passed_over() {
    let frozen = Server::start().await;
    let serving = Server::start().await;
    let mut config = config(vec![closed_port(), frozen.url(), serving.url()]);
    config.request_timeout = Duration::from_millis(400);
    frozen.freeze();
    // Whichever member a client begins with.
    for _ in 0..6 {
        let store = connect(config.clone()).await;
        soon("an answer", store.get("k")).await.unwrap();
    }
    frozen.thaw();
}

/// Each call has an end, whatever etcd does.
#[tokio::test]
async fn i8_no_call_waits_for_a_frozen_etcd() {
    let server = Server::start().await;
    let patient = server.connect().await;
    put(&patient, "k", "1").await;
    let lease = patient.grant(Duration::from_secs(60)).await.unwrap();
    let mut config = server.config();
    config.request_timeout = Duration::from_millis(200);
    let store = connect(config).await as StoreRef;
    server.freeze();
    let txn = Txn::new().put("k", "2");
    let calls = async {
        assert!(matches!(
            store.get("k").await,
            Err(StoreError::Unavailable { .. })
        ));
        assert!(matches!(
            store.list("k", None, 1, None).await,
            Err(StoreError::Unavailable { .. })
        ));
        assert!(matches!(
            store.renew(lease).await,
            Err(StoreError::Unavailable { .. })
        ));
        assert!(matches!(
            store.watch("k", 1).await,
            Err(StoreError::Unavailable { .. })
        ));
        // Whether it happens when etcd goes on, nobody can know. It may also be known not to have been sent.
        let lost = store.txn(txn).await.unwrap_err();
        assert!(lost.is_transient(), "{lost}");
    };
    soon("five errors", calls).await;
    server.thaw();
    soon("etcd is back", patient.get("k")).await.unwrap();
}

#[tokio::test]
async fn a_user_is_let_in_with_the_password_and_kept_to_the_prefix() {
    let server = Server::start().await;
    let mut root = etcd_client::Client::connect([server.url()], None)
        .await
        .unwrap()
        .auth_client();
    root.user_add("root", "r", None).await.unwrap();
    root.role_add("root").await.unwrap();
    root.user_grant_role("root", "root").await.unwrap();
    root.role_add("berth").await.unwrap();
    let own = etcd_client::Permission::read_write("/berth/").with_prefix();
    root.role_grant_permission("berth", own).await.unwrap();
    root.user_add("berth", "secret", None).await.unwrap();
    root.user_grant_role("berth", "berth").await.unwrap();
    root.auth_enable().await.unwrap();

    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "secret\n").unwrap();
    let mut config = server.config();
    let denied = |error: ConnectError| {
        let ConnectError::Store { source, .. } = error else {
            panic!("{error:?}")
        };
        assert!(matches!(source, StoreError::Denied { .. }), "{source}");
    };
    denied(Etcd::connect(config.clone()).await.unwrap_err());
    config.user = Some("berth".to_owned());
    config.password_file = Some(file.path().to_owned());
    let store = connect(config.clone()).await as StoreRef;
    put(&store, "k", "1").await;
    drop(soon("a watch", store.watch("k", 1)).await.unwrap());

    config.prefix = "/other/".to_owned();
    denied(Etcd::connect(config.clone()).await.unwrap_err());
    std::fs::write(file.path(), "wrong").unwrap();
    denied(Etcd::connect(config).await.unwrap_err());
}

#[tokio::test]
async fn an_etcd_with_mutual_tls_lets_in_who_has_a_certificate() {
    let directory = tempfile::tempdir().unwrap();
    certs::make(directory.path(), &["127.0.0.1".to_owned()]).unwrap();
    let server = Server::start_with_tls(directory.path()).await;
    let store = server.connect().await;
    put(&store, "k", "1").await;
    drop(soon("a watch", store.watch("k", 1)).await.unwrap());

    let mut stranger = server.config();
    (stranger.cert, stranger.key) = (None, None);
    let refused = Etcd::connect(stranger).await.unwrap_err();
    assert!(matches!(refused, ConnectError::Store { .. }), "{refused:?}");
    let mut damaged = server.config();
    damaged.cert = Some(directory.path().join("ca.key"));
    let ConnectError::Store { source, .. } = Etcd::connect(damaged).await.unwrap_err() else {
        panic!("a key is no certificate")
    };
    assert!(
        source
            .to_string()
            .contains("check the etcd endpoints and certificates"),
        "{source}"
    );
}

/// I8: more than a client takes at once is read in parts, listed or followed.
#[tokio::test]
async fn i8_answers_beyond_the_limit_come_in_parts() {
    let server = Server::start().await;
    let store = server.connect().await;
    let first = now(&store).await;
    let value = bytes::Bytes::from(vec![7; 1_400_000]);
    for n in 0..50 {
        done(&store, Txn::new().put(format!("big/{n:02}"), value.clone())).await;
    }
    let (entries, revision) = list_all(&*store, "big/").await.unwrap();
    assert_eq!(entries.len(), 50);
    assert!(entries.iter().all(|entry| entry.value == value));
    // The watch catches up in one answer, which is too large, and says that there is another way.
    let mut watch = store.watch("big/", first + 1).await.unwrap();
    let refused = soon("the end of the watch", watch.next())
        .await
        .unwrap()
        .unwrap_err();
    assert!(matches!(refused, StoreError::Compacted { .. }), "{refused}");
    let mut changes = follow(store, "big/");
    let snapshot = soon("a snapshot", changes.next()).await.unwrap();
    assert!(matches!(snapshot, Change::Snapshot(all, at) if all.len() == 50 && at == revision));
}
