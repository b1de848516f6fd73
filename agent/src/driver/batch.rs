//! The confs of a batch: those of a driver, without its Connect service.

use std::collections::BTreeMap;

use crate::config::ProfileConfig;

/// Confs that only make sense to a driver which serves sessions, or on one machine.
const OF_SESSIONS: [&str; 2] = ["spark.plugins", "spark.app.name"];
const OF_ONE_MACHINE: [&str; 2] = ["spark.driver.host", "spark.driver.bindAddress"];

/// The confs of a batch of the profile, from those of a driver. Its driver runs on the node, in the memory that is
/// reserved there, whatever the master: so a fence reaches it.
pub(super) fn confs(
    mut confs: BTreeMap<String, String>,
    profile: &ProfileConfig,
) -> BTreeMap<String, String> {
    confs.retain(|name, _| !name.starts_with("spark.connect."));
    let mut of_profile = |names: [&str; 2]| {
        for name in names {
            confs.remove(name);
            if let Some(value) = profile.confs.get(name) {
                confs.insert(name.to_owned(), value.clone());
            }
        }
    };
    of_profile(OF_SESSIONS);
    if !profile.master.starts_with("local") {
        // Executors on other machines have to reach it.
        of_profile(OF_ONE_MACHINE);
    }
    confs.insert("spark.submit.deployMode".to_owned(), "client".to_owned());
    confs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_driver() -> BTreeMap<String, String> {
        let confs = [
            ("spark.plugins", "connect"),
            ("spark.connect.authenticate.token", "secret"),
            ("spark.driver.host", "127.0.0.1"),
            ("spark.driver.memory", "1g"),
            ("spark.submit.deployMode", "cluster"),
        ];
        confs
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into()
    }

    #[test]
    fn a_batch_has_no_connect_service_and_runs_on_the_node() {
        // livy#40
        let local = confs(of_driver(), &ProfileConfig::default());
        assert_eq!(local.get("spark.plugins"), None);
        assert_eq!(local.get("spark.connect.authenticate.token"), None);
        assert_eq!(local["spark.driver.host"], "127.0.0.1");
        assert_eq!(local["spark.driver.memory"], "1g");
        assert_eq!(local["spark.submit.deployMode"], "client");
    }

    #[test]
    fn executors_of_a_cluster_find_its_driver() {
        let profile = ProfileConfig {
            master: "spark://m:7077".to_owned(),
            confs: BTreeMap::from([("spark.plugins".to_owned(), "own".to_owned())]),
            ..ProfileConfig::default()
        };
        let confs = confs(of_driver(), &profile);
        assert_eq!(confs.get("spark.driver.host"), None);
        assert_eq!(confs["spark.plugins"], "own");
    }
}
