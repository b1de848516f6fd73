//! Layers, faults and rules.

use super::layers::assignment;
use super::*;

fn gather(file: &str, environment: &[(&str, &str)], sets: &[&str]) -> (tempfile::NamedTempFile, Layers) {
    let path = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(path.path(), file).unwrap();
    let environment = environment
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let flags = sets.iter().map(|text| {
        let (key, value) = assignment(text).unwrap();
        ("--set".to_owned(), key, value)
    });
    let layers = Layers::gather(Some(path.path()), environment, flags).unwrap();
    (path, layers)
}

#[test]
fn later_places_win_and_are_named() {
    let file = "data-dir = \"/d\"\n[broker]\nhold-seconds = 1\nlease-seconds = 4\n";
    let environment = [
        ("BERTH__BROKER__HOLD_SECONDS", "2"),
        ("BERTH__LISTEN__CONNECT", "127.0.0.1:0"),
        ("HOME", "/root"),
    ];
    let (_file, layers) = gather(file, &environment, &["broker.lease-seconds=5"]);
    let config = Config::load(&layers, Role::Up).unwrap();
    let seconds = (config.broker.hold_seconds, config.broker.lease_seconds);
    assert_eq!(seconds, (2, 5));
    assert_eq!(config.agent.state_dir, PathBuf::from("/d/agent"));
    let shown = as_toml(&config, &layers).unwrap();
    for line in [
        "broker.hold-seconds = 2  # BERTH__BROKER__HOLD_SECONDS",
        "broker.lease-seconds = 5  # --set",
        "listen.livy = \"127.0.0.1:8998\"  # default",
    ] {
        assert!(shown.contains(line), "{line} in {shown}");
    }
    assert!(
        shown
            .lines()
            .any(|line| line.starts_with("data-dir = \"/d\"  # ") && line.ends_with(":1"))
    );
    // What is shown sets the same.
    let (_file, again) = gather(&shown, &[], &[]);
    let again = Config::load(&again, Role::Up).unwrap();
    assert_eq!(
        Table::try_from(&again).unwrap(),
        Table::try_from(&config).unwrap()
    );
}

#[test]
fn all_faults_are_named_at_once_with_their_lines() {
    let file =
        "[broker]\nhold-second = 1\nlease-seconds = \"x\"\n[colour]\na = 1\n[listen]\nconnect = \"here\"\n";
    let (path, layers) = gather(file, &[("BERTH__AGENT__PROFILES__BIG__HAEP", "2g")], &[]);
    let error = Config::load(&layers, Role::Up).unwrap_err().to_string();
    let at = |line: usize| format!("{}:{line}: ", path.path().display());
    for part in [
        at(2) + "broker.hold-second is not a setting; did you mean 'hold-seconds'?",
        at(3) + "broker.lease-seconds: invalid type",
        at(4) + "colour is not a setting; there are data-dir, listen",
        at(7) + "listen.connect: ",
        "BERTH__AGENT__PROFILES__BIG__HAEP: agent.profiles.big.haep is not a setting; did you mean 'heap'?"
            .to_owned(),
    ] {
        assert!(error.contains(&part), "{part} in\n{error}");
    }
    assert_eq!(error.lines().count(), 5, "{error}");
}

#[test]
fn i7_a_broker_that_others_reach_needs_authentication_and_tls() {
    let open = "listen.connect=0.0.0.0:15002";
    let token = "auth.token-file=/t";
    let tls = ["listen.tls-cert=/c", "listen.tls-key=/k"];
    let cases: [(&[&str], Option<&str>); 5] = [
        (&[], None),
        (&[open], Some("set auth.token-file, listen.tls-cert")),
        (&[open, token], Some("set listen.tls-cert")),
        (&[open, token, tls[0], tls[1]], None),
        (&[open, "listen.insecure=true"], None),
    ];
    for (sets, expected) in cases {
        let (_file, layers) = gather("", &[], sets);
        let error = Config::load(&layers, Role::Up)
            .err()
            .map(|error| error.to_string());
        match (expected, error) {
            (None, error) => assert_eq!(error, None, "{sets:?}"),
            (Some(part), error) => assert!(error.unwrap_or_default().contains(part), "{sets:?}"),
        }
    }
}

#[test]
fn a_broker_in_zookeeper_says_where_it_is() {
    let servers = "broker.hs2.zookeeper.servers=[\"zk:2181\"]";
    let anywhere = ["listen.hs2=0.0.0.0:10009", "listen.insecure=true"];
    let cases: [(&[&str], Option<&str>); 6] = [
        (&[servers], None),
        (
            &["broker.hs2.zookeeper.servers=[\"zk\"]"],
            Some("'zk' is not host:port"),
        ),
        (
            &[servers, anywhere[0], anywhere[1]],
            Some("listen.hs2 is 0.0.0.0:10009"),
        ),
        (
            &[
                servers,
                anywhere[0],
                anywhere[1],
                "broker.hs2.zookeeper.address=b1:10009",
            ],
            None,
        ),
        (
            &[servers, "broker.hs2.zookeeper.address=b1:0"],
            Some("'b1:0' is not host:port"),
        ),
        (
            &[servers, "broker.hs2.zookeeper.namespace=/"],
            Some("cannot be empty"),
        ),
    ];
    for (sets, expected) in cases {
        let (_file, layers) = gather("", &[], sets);
        let error = Config::load(&layers, Role::Up).err();
        let error = error.map(|error| error.to_string()).unwrap_or_default();
        match expected {
            None => assert_eq!(error, "", "{sets:?}"),
            Some(part) => assert!(error.contains(part), "{sets:?}: {error}"),
        }
    }
}

#[test]
fn a_cluster_needs_etcd_and_certificates() {
    let (_file, layers) = gather("", &[], &["agent.lease-seconds=1", "broker.max-calls=0"]);
    let error = Config::load(&layers, Role::Agent).unwrap_err().to_string();
    for part in [
        "store.endpoints: ",
        "tls: cert",
        "agent.lease-seconds: 1 is less",
        "broker.max-calls: 0",
    ] {
        assert!(error.contains(part), "{part} in\n{error}");
    }
}

#[test]
fn assignments_are_read_as_toml_or_text() {
    let (key, value) = assignment("agent.profiles.big.confs.\"spark.a.b\"=x y").unwrap();
    assert_eq!(key, ["agent", "profiles", "big", "confs", "spark.a.b"]);
    assert_eq!(value.as_str(), Some("x y"));
    assert_eq!(
        assignment("store.endpoints=[\"a\"]")
            .unwrap()
            .1
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert!(assignment("nothing").is_err());
    assert!(assignment("a b=1").is_err());
}

use toml::Table;
