//! Which batches are listed.

use serde::Deserialize;

use super::super::refusal::Refusal;
use super::show::{STATES, Shown};
use crate::dialects::livy::batches::origin::Type;

/// Batches on a page unless asked otherwise, and at most.
const PAGE: u64 = 100;
const MAX_PAGE: u64 = 10_000;

/// The query.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(in crate::dialects::kyuubi) struct Wanted {
    batch_type: Option<String>,
    batch_state: Option<String>,
    batch_user: Option<String>,
    batch_name: Option<String>,
    create_time: Option<String>,
    end_time: Option<String>,
    from: Option<String>,
    size: Option<String>,
    desc: Option<String>,
}

fn filled(text: &Option<String>) -> Option<&str> {
    text.as_deref().map(str::trim).filter(|text| !text.is_empty())
}

/// A number of the query.
fn number(name: &str, text: &Option<String>) -> Result<Option<i64>, Refusal> {
    let wrong = |text: &str| Refusal::Malformed(format!("{name} '{text:.64}' is not a whole number"));
    let read = |text: &str| text.parse().map_err(|_no_number| wrong(text));
    filled(text).map(read).transpose()
}

impl Wanted {
    /// The batches that are wanted, of those that are given in the order in which they were submitted.
    ///
    /// # Errors
    /// A state or time that cannot be.
    pub(super) fn pick(&self, all: Vec<Shown>) -> Result<Vec<Shown>, Refusal> {
        let (from, size) = self.page()?;
        let mut picked = self.filter(all)?;
        if filled(&self.desc).is_some_and(|desc| desc.eq_ignore_ascii_case("true")) {
            picked.reverse();
        }
        Ok(picked.into_iter().skip(from).take(size).collect())
    }

    /// All that are wanted, on whatever page.
    ///
    /// # Errors
    /// As [`Wanted::pick`].
    fn filter(&self, mut all: Vec<Shown>) -> Result<Vec<Shown>, Refusal> {
        let (state, (since, until)) = (self.state()?, self.times()?);
        let is = |wanted: &Option<String>, own: &str| filled(wanted).is_none_or(|wanted| wanted == own);
        let of_type =
            |own: &str| filled(&self.batch_type).is_none_or(|wanted| wanted.eq_ignore_ascii_case(own));
        all.retain(|shown| {
            let name = shown.origin.name.as_deref().unwrap_or_default();
            let ended = shown.ended_at();
            of_type(shown.origin.kind.as_str())
                && state.is_none_or(|state| state == shown.state())
                && is(&self.batch_user, &shown.listed.owner)
                && is(&self.batch_name, name)
                && shown.listed.opened_at() >= since
                && (until == 0 || (ended > 0 && ended <= until))
        });
        Ok(all)
    }

    /// How many are wanted, on whatever page: of jars, if no type is named, as Kyuubi counts.
    ///
    /// # Errors
    /// As [`Wanted::pick`].
    pub(super) fn count(mut self, all: Vec<Shown>) -> Result<usize, Refusal> {
        if filled(&self.batch_type).is_none() {
            self.batch_type = Some(Type::Spark.as_str().to_owned());
        }
        Ok(self.filter(all)?.len())
    }

    /// The first of the page, and its length.
    pub(super) fn page(&self) -> Result<(usize, usize), Refusal> {
        let clamp = |number: i64, most: u64| u64::try_from(number).unwrap_or(0).min(most);
        let from = number("from", &self.from)?.map_or(0, |from| clamp(from, u64::MAX));
        let size = number("size", &self.size)?.map_or(PAGE, |size| clamp(size, MAX_PAGE));
        let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        Ok((count(from), count(size)))
    }

    fn state(&self) -> Result<Option<&'static str>, Refusal> {
        let Some(asked) = filled(&self.batch_state) else {
            return Ok(None);
        };
        let known = STATES.into_iter().find(|state| state.eq_ignore_ascii_case(asked));
        let wrong = || {
            Refusal::Malformed(format!(
                "batchState '{asked:.64}' is none of {}",
                STATES.join(", ")
            ))
        };
        known.ok_or_else(wrong).map(Some)
    }

    fn times(&self) -> Result<(u64, u64), Refusal> {
        let since = number("createTime", &self.create_time)?.unwrap_or(0);
        let until = number("endTime", &self.end_time)?.unwrap_or(0);
        match (u64::try_from(since), u64::try_from(until)) {
            (Ok(since), Ok(until)) if until == 0 || since <= until => Ok((since, until)),
            _ => Err(Refusal::Malformed(format!(
                "Invalid time range: createTime {since}, endTime {until}; both are milliseconds since 1970, and the \
                 second is not before the first"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use berth_core::batch::Run;
    use berth_core::ids::{Epoch, SessionId};
    use berth_core::record::FORMAT;
    use uuid::{Timestamp, Uuid};

    use super::*;
    use crate::dialects::livy::batches::origin::Origin;
    use crate::dialects::livy::batches::{Batch, End, Last};
    use crate::dialects::livy::kind::Kind;
    use crate::dialects::livy::listed::Listed;
    use crate::dialects::livy::request::NewSession;

    /// A batch that was submitted at this second.
    fn shown(second: u64, user: &str, kind: Type, end: Option<Last>) -> Shown {
        let at = Timestamp::from_unix_time(second, 0, 0, 0);
        let end = end.map(|state| End {
            state,
            log: Vec::new(),
            at: (second + 10) * 1000,
            first: 0,
            whole: None,
        });
        let epoch = Epoch::INITIAL;
        let batch = Batch {
            run: Some(Run { epoch, number: 1 }),
            end,
            origin: Some(Box::new(Origin {
                kind,
                name: Some(format!("job {second}")),
                ..Origin::default()
            })),
            ..Batch::default()
        };
        Shown::of(Listed {
            format: FORMAT,
            number: 0,
            session: SessionId::new(Uuid::new_v7(at)),
            owner: user.to_owned(),
            tenant: None,
            proxy_user: None,
            kind: Kind::Shared,
            request: NewSession::default(),
            failed: None,
            key: None,
            batch: Some(batch),
        })
        .unwrap()
    }

    fn wanted(query: &str) -> Wanted {
        let uri = format!("/batches?{query}").parse().unwrap();
        let axum::extract::Query(wanted) = axum::extract::Query::try_from_uri(&uri).unwrap();
        wanted
    }

    fn all() -> Vec<Shown> {
        vec![
            shown(100, "ann", Type::Spark, Some(Last::Success)),
            shown(200, "ann", Type::Pyspark, Some(Last::Dead)),
            shown(300, "bob", Type::Spark, None),
        ]
    }

    fn picked(query: &str) -> Result<Vec<u64>, Refusal> {
        let picked = wanted(query).pick(all())?;
        Ok(picked
            .iter()
            .map(|shown| shown.listed.opened_at() / 1000)
            .collect())
    }

    #[test]
    fn batches_are_picked_by_what_is_known_of_them() {
        // kyuubi#55
        let cases: [(&str, &[u64]); 11] = [
            ("", &[100, 200, 300]),
            ("batchUser=ann", &[100, 200]),
            ("batchType=spark", &[100, 300]),
            ("batchState=error", &[200]),
            ("batchState=RUNNING&batchUser=ann", &[]),
            ("batchName=job+300", &[300]),
            ("createTime=200000", &[200, 300]),
            ("createTime=100000&endTime=110000", &[100]),
            ("from=1&size=1", &[200]),
            ("from=2&size=5", &[300]),
            ("desc=true&size=2", &[300, 200]),
        ];
        for (query, expected) in cases {
            assert_eq!(picked(query).unwrap(), expected, "{query}");
        }
    }

    #[test]
    fn jars_are_counted_unless_another_type_is_named() {
        let cases = [("", 2), ("batchType=pyspark", 1), ("batchUser=ann&size=0", 1)];
        for (query, count) in cases {
            assert_eq!(wanted(query).count(all()), Ok(count), "{query}");
        }
    }

    #[test]
    fn a_batch_is_a_session_and_an_operation_of_its_own_to_administrators() {
        // kyuubi#63
        let batch = shown(100, "ann", Type::Spark, None);
        let (session, operation) = (batch.as_session(), batch.as_operation());
        assert_eq!(
            (&session["user"], &session["sessionType"]),
            (&"ann".into(), &"BATCH".into())
        );
        assert_eq!(session["identifier"], batch.id());
        assert_eq!(operation["state"], "RUNNING_STATE");
        assert_eq!(operation["sessionId"], session["identifier"]);
    }

    #[test]
    fn what_cannot_be_looked_for_is_said() {
        // kyuubi#56
        for (query, why) in [
            ("batchState=BOGUS", "PENDING, RUNNING, FINISHED, ERROR, CANCELED"),
            ("batchState=INITIALIZED", "PENDING"),
            ("createTime=5&endTime=4", "Invalid time range"),
            ("createTime=-1", "Invalid time range"),
            ("size=many", "size 'many'"),
        ] {
            let refusal = picked(query).unwrap_err();
            assert!(matches!(refusal, Refusal::Malformed(_)), "{query}");
            assert!(refusal.to_string().contains(why), "{refusal}");
        }
    }

    #[test]
    fn a_batch_that_was_killed_is_canceled_only_if_a_client_asked_for_that() {
        // kyuubi#59
        let mut killed = shown(1, "ann", Type::Spark, Some(Last::Killed));
        assert_eq!(killed.state(), "ERROR");
        killed.batch.cancelled = true;
        assert_eq!(killed.state(), "CANCELED");
        assert_eq!(killed.show(false)["appState"], "KILLED");
    }
}
