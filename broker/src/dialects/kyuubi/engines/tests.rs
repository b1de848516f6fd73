use berth_core::ids::Epoch;
use berth_core::record::{FORMAT, Lifetime, Placement};
use berth_core::share;
use uuid::Uuid;

use super::*;
use crate::dialects::sql::Caller;

/// The driver "d1" and its like.
fn driver(name: &str) -> String {
    Uuid::from_u128(name[1..].parse().unwrap()).to_string()
}

pub(in super::super) fn record(id: u128, owner: &str, on: &str, dialect: Dialect) -> SessionRecord {
    SessionRecord {
        format: FORMAT,
        id: SessionId::new(Uuid::from_u128(id)),
        dialect,
        work: Work::Session,
        owner: owner.to_owned(),
        tenant: "t".parse().unwrap(),
        profile: "default".parse().unwrap(),
        client_id: id.to_string(),
        name: None,
        server_session_id: Uuid::nil(),
        memory_bytes: 0,
        confs: BTreeMap::new(),
        lifetime: Lifetime::default(),
        share: None,
        bound_to: None,
        created_at: 0,
        epoch: Epoch::INITIAL,
        state: SessionState::Active {
            placement: Placement {
                node: "n".parse().unwrap(),
                incarnation: Uuid::nil().to_string().parse().unwrap(),
                driver: driver(on).parse().unwrap(),
                server_session_id: String::new(),
                application: None,
            },
            since: 0,
        },
        early_losses: Vec::new(),
        left_out: 0,
        history: Vec::new(),
    }
}

fn asking(mut record: SessionRecord, level: Option<Level>, subdomain: Option<&str>) -> SessionRecord {
    record.share = Some(share::Asked {
        level,
        subdomain: subdomain.map(str::to_owned),
    });
    record
}

/// Drivers d1 to d6: ann's own, ann's of subdomain etl, one that bob shares, a batch, Livy's, and bob's own.
fn all_of(user: &str) -> Vec<Engine> {
    let mut batch = record(5, "ann", "d4", Dialect::Kyuubi);
    batch.work = Work::Batch;
    let records = [
        asking(
            record(1, "ann", "d1", Dialect::Kyuubi),
            Some(Level::Session),
            None,
        ),
        asking(
            record(2, "ann", "d2", Dialect::Hs2),
            Some(Level::User),
            Some("etl"),
        ),
        record(3, "ann", "d3", Dialect::Kyuubi),
        record(4, "bob", "d3", Dialect::Hs2),
        record(8, "ann", "d3", Dialect::Connect),
        batch,
        record(6, "ann", "d5", Dialect::Livy),
        record(7, "bob", "d6", Dialect::Kyuubi),
    ];
    let drivers = ["d1", "d2", "d3", "d4", "d5", "d6", "d7"].map(|name| v1::Driver {
        id: driver(name),
        ..v1::Driver::default()
    });
    engines_of(user, drivers.to_vec(), &records, |_| Level::Tenant)
}

fn names(engines: &[Engine]) -> Vec<String> {
    let number = |engine: &Engine| Uuid::parse_str(&engine.driver.id).unwrap().as_u128();
    engines
        .iter()
        .map(|engine| format!("d{}", number(engine)))
        .collect()
}

#[test]
fn i7_engines_are_drivers_with_sql_sessions_of_the_user() {
    // kyuubi#66
    let ann = all_of("ann");
    assert_eq!(names(&ann), ["d1", "d2", "d3"]);
    let shown: Vec<_> = ann
        .iter()
        .map(|engine| {
            let shown = engine.show("ann");
            (shown["sharelevel"].clone(), shown["subdomain"].clone())
        })
        .collect();
    let pair = |level: &str, subdomain: &str| (json!(level), json!(subdomain));
    assert_eq!(
        shown,
        [
            pair("CONNECTION", "default"),
            pair("USER", "etl"),
            pair("GROUP", "default")
        ]
    );
    assert_eq!(names(&all_of("bob")), ["d3", "d6"]);
    assert!(all_of("eve").is_empty());
}

#[test]
fn no_more_engines_are_picked_than_were_asked_for() {
    // kyuubi#66, kyuubi#67
    type Change = fn(&mut Asked);
    let cases: [(Change, &[&str], &[&str]); 6] = [
        (|_| (), &["d1", "d2", "d3"], &["d1", "d3"]),
        (|asked| asked.subdomain = Some("etl".to_owned()), &["d2"], &["d2"]),
        (
            |asked| asked.sharelevel = Some("connection".to_owned()),
            &["d1"],
            &["d1"],
        ),
        (
            |asked| asked.sharelevel = Some("SERVER".to_owned()),
            &["d3"],
            &["d3"],
        ),
        (|asked| asked.kind = Some("TRINO".to_owned()), &[], &[]),
        (
            |asked| asked.kind = Some("spark_sql".to_owned()),
            &["d1", "d2", "d3"],
            &["d1", "d3"],
        ),
    ];
    for (change, listed, ended) in cases {
        let mut asked = Asked::default();
        change(&mut asked);
        assert_eq!(
            names(&asked.pick(None, all_of("ann")).unwrap()),
            listed,
            "{asked:?}"
        );
        assert_eq!(
            names(&asked.pick(Some(DEFAULT), all_of("ann")).unwrap()),
            ended,
            "{asked:?}"
        );
    }
    let odd = Asked {
        sharelevel: Some("odd".to_owned()),
        ..Asked::default()
    };
    assert!(matches!(odd.pick(None, Vec::new()), Err(Refusal::Malformed(_))));
}

#[test]
fn an_end_is_told_only_of_what_ends() {
    // kyuubi#67
    let ann = all_of("ann");
    let ended = ann[0].told(&[]);
    assert_eq!(ended, format!("Engine {} is deleted successfully.", driver("d1")));
    // Batches and sessions of others are not among those that are closed.
    assert_eq!(ann[2].own, [3, 8].map(|id| SessionId::new(Uuid::from_u128(id))));
    let shared = ann[2].told(&[]);
    assert!(
        shared.contains("2 sessions") && shared.contains("lives on for 1 of"),
        "{shared}"
    );
    let left = ann[0].told(&["session x is not closed: y".to_owned()]);
    assert!(left.contains("lives on") && !left.contains("deleted"), "{left}");
}

#[test]
fn i7_only_operators_ask_about_others() {
    // kyuubi#66
    let by = |operator| {
        By(Caller {
            user: Some("ann".to_owned()),
            tenant: None,
            operator,
        })
    };
    let asked = |own: &str, hive: &str| Asked {
        proxy_user: Some(own.to_owned()),
        hive_proxy_user: Some(hive.to_owned()),
        ..Asked::default()
    };
    assert!(matches!(
        asked("bob", "").user(&by(false)),
        Err(Refusal::Forbidden(_))
    ));
    assert_eq!(asked("bob", "eve").user(&by(true)), Ok("bob".to_owned()));
    assert_eq!(asked("", "bob").user(&by(true)), Ok("bob".to_owned()));
    assert_eq!(asked("ann", "").user(&by(false)), Ok("ann".to_owned()));
    assert_eq!(Asked::default().user(&by(false)), Ok("ann".to_owned()));
}
