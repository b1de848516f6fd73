//! Who may be on the same driver.
//!
//! A profile says how widely its drivers are shared. A session may ask for less, never for more: what the operator keeps
//! apart stays apart.

use serde::{Deserialize, Serialize};

use crate::ids::TenantId;

/// How widely a driver is shared, the narrowest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// By nobody.
    Session,
    /// By the sessions of one user.
    User,
    /// By the sessions of one tenant.
    Tenant,
}

/// What a session asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// The widest level that it wants; that of the profile if it has no wish.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<Level>,
    /// Only sessions with the same word here are on the same driver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subdomain: Option<String>,
}

/// The key of a session: those with equal keys may be on the same driver. `None` for a driver of its own.
pub fn key(profile: Level, asked: Option<&Asked>, tenant: &TenantId, owner: &str) -> Option<String> {
    let level = asked
        .and_then(|asked| asked.level)
        .map_or(profile, |level| level.min(profile));
    let key = match level {
        Level::Session => return None,
        // The owner comes last: it may have any character.
        Level::User => format!("user/{tenant}/{owner}"),
        Level::Tenant => format!("tenant/{tenant}"),
    };
    Some(match asked.and_then(|asked| asked.subdomain.as_deref()) {
        None => key,
        Some(subdomain) => format!("of/{}/{subdomain}/{key}", subdomain.len()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key_of(profile: Level, level: Option<Level>, subdomain: Option<&str>) -> Option<String> {
        let asked = Asked {
            level,
            subdomain: subdomain.map(str::to_owned),
        };
        key(profile, Some(&asked), &"t".parse().unwrap(), "ann")
    }

    #[test]
    fn i7_a_session_is_shared_no_more_widely_than_its_profile_allows() {
        let levels = [Level::Session, Level::User, Level::Tenant];
        for profile in levels {
            for asked in levels {
                let narrower = profile.min(asked);
                assert_eq!(key_of(profile, Some(asked), None), key_of(narrower, None, None));
                assert_eq!(
                    key_of(profile, Some(asked), Some("s")).is_none(),
                    narrower == Level::Session
                );
            }
        }
        let plain = key(Level::User, None, &"t".parse().unwrap(), "ann");
        assert_eq!(plain.as_deref(), Some("user/t/ann"));
    }

    #[test]
    fn i7_no_subdomain_makes_the_key_of_another_user() {
        let keys = [
            key_of(Level::User, None, None),
            key_of(Level::User, None, Some("")),
            key_of(Level::User, None, Some("user/t/ann")),
            key_of(Level::User, None, Some("a/user/t/bob")),
            key_of(Level::Tenant, None, Some("a")),
        ];
        let distinct: std::collections::BTreeSet<_> = keys.iter().collect();
        assert_eq!(distinct.len(), keys.len());
    }
}
