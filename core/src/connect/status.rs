//! What a client is told of its operations (`GetStatus`), over all the epochs of its session.
//!
//! A driver knows the operations of its own epoch alone, and one that runs a second time on it has another id there.
//! The broker knows those that it has for its clients, whatever driver they ran on.
//!
//! Source of the numbers: `GetStatusResponse.OperationStatus.OperationState`, protocol 4.2.

/// A driver has not heard of it.
pub const UNKNOWN: u64 = 1;
/// It goes on.
pub const RUNNING: u64 = 2;
/// It ended well.
pub const SUCCEEDED: u64 = 4;
/// It ended with an error.
pub const FAILED: u64 = 5;
/// Somebody ended it.
pub const CANCELLED: u64 = 6;

/// An operation that a broker has for its client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The client's id for it.
    pub id: String,
    /// Its id on the driver that has it, if one has.
    pub on_driver: Option<String>,
    /// How it stands here.
    pub state: u64,
}

/// What is said of one operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Its id.
    pub id: String,
    /// How it stands.
    pub state: u64,
}

/// The ids on the driver of operations that a client asks for by its own ones.
#[must_use]
pub fn other_ids<'a>(asked: &[String], held: &'a [Held]) -> Vec<&'a str> {
    let meant = held.iter().filter(|held| asked.contains(&held.id));
    let theirs = meant.filter_map(|held| held.on_driver.as_deref().filter(|there| *there != held.id));
    theirs.collect()
}

/// What the client is told that asked for `asked`, or for all with none, when its driver says `by_driver`: each
/// operation once, under the client's id. What the driver does not know stands as it does here.
#[must_use]
pub fn told(asked: &[String], by_driver: Vec<Told>, held: &[Held]) -> Vec<Told> {
    let is_asked = |id: &String| asked.is_empty() || asked.contains(id);
    let latest = by_driver
        .into_iter()
        .filter(|told| !has_begun_again(&told.id, held));
    let named = latest.map(|told| under_the_clients_id(told, held));
    let here = held.iter().map(|held| Told {
        id: held.id.clone(),
        state: held.state,
    });
    let mut all: Vec<Told> = Vec::new();
    for next in named.chain(here).filter(|told| is_asked(&told.id)) {
        match all.iter_mut().find(|told| told.id == next.id) {
            None => all.push(next),
            Some(told) if told.state == UNKNOWN => told.state = next.state,
            Some(_) => {}
        }
    }
    all
}

/// True of the client's own id where that is no more than a first try.
fn has_begun_again(id: &str, held: &[Held]) -> bool {
    let mut other = held
        .iter()
        .filter(|held| held.on_driver.as_deref().is_some_and(|there| there != held.id));
    other.any(|held| held.id == id)
}

fn under_the_clients_id(told: Told, held: &[Held]) -> Told {
    let of = held
        .iter()
        .find(|held| held.on_driver.as_deref() == Some(told.id.as_str()));
    Told {
        id: of.map_or(told.id, |held| held.id.clone()),
        state: told.state,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(id: &str, on_driver: Option<&str>, state: u64) -> Held {
        Held {
            id: id.to_owned(),
            on_driver: on_driver.map(str::to_owned),
            state,
        }
    }

    fn says(told: &[(&str, u64)]) -> Vec<Told> {
        let one = |(id, state): &(&str, u64)| Told {
            id: (*id).to_owned(),
            state: *state,
        };
        told.iter().map(one).collect()
    }

    fn ids(ids: &[&str]) -> Vec<String> {
        ids.iter().map(|id| (*id).to_owned()).collect()
    }

    /// connect#39
    #[test]
    fn what_has_another_id_on_its_driver_is_told_under_the_clients_id() {
        let held = [held("a", Some("a2"), RUNNING), held("b", Some("b"), RUNNING)];
        assert_eq!(other_ids(&ids(&["a", "b"]), &held), ["a2"]);
        assert_eq!(other_ids(&ids(&["b", "c"]), &held), [""; 0]);
        let by_driver = says(&[("a", UNKNOWN), ("c", UNKNOWN), ("a2", RUNNING)]);
        let asked = ids(&["a", "c"]);
        assert_eq!(
            told(&asked, by_driver, &held),
            says(&[("c", UNKNOWN), ("a", RUNNING)])
        );
        let all = told(
            &[],
            says(&[("a", FAILED), ("a2", RUNNING), ("b", SUCCEEDED)]),
            &held,
        );
        assert_eq!(
            all,
            says(&[("a", RUNNING), ("b", SUCCEEDED)]),
            "the driver knows best"
        );
    }

    /// connect#39
    #[test]
    fn what_no_driver_has_is_told_as_it_stands_here() {
        let held = [
            held("waits", None, RUNNING),
            held("before", Some("before"), SUCCEEDED),
            held("failed", Some("failed"), FAILED),
        ];
        let expected = says(&[("waits", RUNNING), ("before", SUCCEEDED), ("failed", FAILED)]);
        assert_eq!(told(&[], Vec::new(), &held), expected);
        let by_driver = says(&[("before", UNKNOWN), ("stranger", UNKNOWN)]);
        let asked = ids(&["before", "stranger"]);
        let expected = says(&[("before", SUCCEEDED), ("stranger", UNKNOWN)]);
        assert_eq!(told(&asked, by_driver, &held), expected);
    }

    #[test]
    fn what_was_not_asked_for_is_not_told() {
        let held = [held("a", Some("a2"), RUNNING)];
        let by_driver = says(&[("b", RUNNING), ("a2", RUNNING)]);
        assert_eq!(told(&ids(&["b"]), by_driver, &held), says(&[("b", RUNNING)]));
    }
}
