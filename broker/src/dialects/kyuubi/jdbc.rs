//! Sessions of HiveServer2's protocol, as this API tells of them: Kyuubi has one list of sessions for all its clients.
//!
//! Those that were opened over HTTP are in a directory of their own. Of those of binary connections there is no more than
//! their records, and what this broker knows if they are its own.

use std::collections::BTreeMap;

use berth_core::ids::SessionId;
use berth_core::record::{Dialect, SessionRecord, Work};
use uuid::Uuid;

use super::Kyuubi;
use super::refusal::Refusal;
use crate::dialects::connect::inside;
use crate::dialects::sql::directory::{self, Found, Listed};
use crate::dialects::sql::session::Session;

/// The key under which Kyuubi's clients name a session.
const NAME: &str = "kyuubi.session.name";

impl Kyuubi {
    /// All sessions that are not over, of this API and of HiveServer2's protocol, which `wanted` picks. The oldest first.
    ///
    /// # Errors
    /// The store is away.
    pub(super) async fn all_sessions(&self, wanted: impl Fn(&Listed) -> bool) -> Result<Vec<Found>, Refusal> {
        let mut all = self.directory.all(&wanted).await?;
        let jdbc = self.jdbc_sessions().await?;
        all.extend(jdbc.into_iter().filter(|found| wanted(&found.listed)));
        all.sort_by_key(|found| found.listed.opened_at);
        Ok(all)
    }

    async fn jdbc_sessions(&self) -> Result<Vec<Found>, Refusal> {
        let mut records = self.cluster.sessions().await?;
        records.retain(is_of_client);
        if records.is_empty() {
            return Ok(Vec::new());
        }
        let listed = self.hs2_directory.entries().await?;
        Ok(join(records, listed, |handle| {
            self.engine.peek(handle).map(|session| Here::of(&session))
        }))
    }

    /// Ends a session of HiveServer2's protocol, whichever broker serves it. False if there is none of this handle.
    ///
    /// # Errors
    /// The store is away.
    pub(super) async fn close_jdbc(&self, handle: &str) -> Result<bool, Refusal> {
        let Ok(id) = Uuid::try_parse(handle) else {
            return Ok(false);
        };
        let records = self.cluster.sessions().await?;
        let mut own = records.iter().filter(|record| is_of_client(record));
        let Some(record) = own.find(|record| handle_of(record) == Some(id)) else {
            return Ok(false);
        };
        self.hs2_directory.remove(id).await?;
        self.cluster.close(&record.id.to_string()).await?;
        Ok(true)
    }
}

/// True of a session that a client of HiveServer2's protocol has opened.
fn is_of_client(record: &SessionRecord) -> bool {
    record.dialect == Dialect::Hs2 && record.work == Work::Session && !inside::is_aside(record)
}

fn handle_of(record: &SessionRecord) -> Option<Uuid> {
    Uuid::try_parse(&record.client_id).ok()
}

/// What a broker knows of its own session beside the record.
#[derive(Debug, Clone)]
struct Here {
    opened_by: String,
    protocol: i32,
}

impl Here {
    fn of(session: &Session) -> Self {
        Self {
            opened_by: session.opened_by.clone(),
            protocol: session.protocol,
        }
    }
}

/// Sessions by their records, with what else is known of them.
fn join(records: Vec<SessionRecord>, listed: Vec<Listed>, here: impl Fn(Uuid) -> Option<Here>) -> Vec<Found> {
    let mut listed: BTreeMap<SessionId, Listed> = listed.into_iter().map(|one| (one.session, one)).collect();
    let found = |record: SessionRecord| {
        let handle = handle_of(&record)?;
        let known = listed.remove(&record.id);
        let listed = known.unwrap_or_else(|| of_record(&record, handle, here(handle)));
        Some(Found {
            listed,
            record: Some(record),
        })
    };
    records.into_iter().filter_map(found).collect()
}

/// A session of a binary connection. Who opened it is known at its broker; elsewhere it is whom it acts for.
fn of_record(record: &SessionRecord, handle: Uuid, here: Option<Here>) -> Listed {
    let mut confs = record.confs.clone();
    if let Some(name) = &record.name {
        confs.insert(NAME.to_owned(), name.clone());
    }
    let (real_user, protocol) = match here {
        Some(here) => (here.opened_by, here.protocol),
        None => (record.owner.clone(), 0),
    };
    Listed {
        format: directory::format(),
        handle,
        session: record.id,
        user: record.owner.clone(),
        real_user,
        tenant: Some(record.tenant.clone()),
        protocol,
        confs,
        client_ip: String::new(),
        instance: String::new(),
        opened_at: record.created_at,
    }
}

#[cfg(test)]
mod tests {
    use super::super::engines::tests::record;
    use super::super::show::tests::listed;
    use super::*;

    fn of_jdbc(id: u128) -> SessionRecord {
        SessionRecord {
            client_id: Uuid::from_u128(id).to_string(),
            bound_to: Some("b".parse().unwrap()),
            ..record(id, "bob", "d1", Dialect::Hs2)
        }
    }

    #[test]
    fn only_what_clients_of_hiveserver2_have_opened_is_theirs() {
        // kyuubi#63
        assert!(is_of_client(&of_jdbc(1)));
        let named = |name: String| SessionRecord {
            name: Some(name),
            ..of_jdbc(1)
        };
        assert!(!is_of_client(&named(inside::name_aside(of_jdbc(1).id))));
        assert!(is_of_client(&named("one statement of mine".to_owned())));
        assert!(!is_of_client(&record(1, "bob", "d1", Dialect::Kyuubi)));
    }

    #[test]
    fn sessions_are_told_of_by_what_is_known_of_them() {
        // kyuubi#63
        let over_http = Listed {
            session: of_jdbc(1).id,
            ..listed(&[("k", "v")])
        };
        let here = |handle: Uuid| {
            (handle == Uuid::from_u128(2)).then(|| Here {
                opened_by: "ann".to_owned(),
                protocol: 10,
            })
        };
        let found = join(
            vec![of_jdbc(1), of_jdbc(2), of_jdbc(3)],
            vec![over_http.clone()],
            here,
        );
        let told: Vec<_> = found
            .iter()
            .map(|found| {
                (
                    found.listed.user.as_str(),
                    found.listed.real_user.as_str(),
                    found.listed.protocol,
                )
            })
            .collect();
        assert_eq!(told, [("bob", "ann", 0), ("bob", "ann", 10), ("bob", "bob", 0)]);
        assert_eq!(found[0].listed, over_http);
        assert_eq!(found[2].listed.handle, Uuid::from_u128(3));
    }
}
