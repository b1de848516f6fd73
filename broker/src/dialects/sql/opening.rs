//! What a client asks for when it opens a session: keys as Hive, Kyuubi and Spark name them.
//!
//! | key | what becomes of it |
//! |---|---|
//! | `use:database`, `use:catalog` | where the session begins |
//! | `set:hiveconf:K`, `set:hivevar:K`, `set:system:K`, `set:metaconf:K` | as `K` |
//! | `set:env:K` | the session is refused |
//! | `kyuubi.*` | those of [`Opening::kyuubi`]; the others are named in the session's log |
//! | `hive.server2.*` | the fetch size and the user to act for; the others are of no use here |
//! | `spark.*` | `spark.sql.*` is set; what loads code or reaches outside is refused; the rest belongs to the driver, which is there already, and is named in the log |
//! | others | set as they are, so that `${K}` in statements finds them |

mod spark;
mod statement;

use std::collections::BTreeMap;
use std::time::Duration;

use berth_core::share::{self, Level};

use self::spark::Fate;
pub(crate) use self::statement::{Asked, statement};
use super::failure::Failure;

/// Bytes of all keys and values together: they are kept in the session's record.
const MAX_BYTES: usize = 64 << 10;
/// Longest subdomain.
const MAX_SUBDOMAIN_CHARS: usize = 100;
/// The keys that name the user to act for; Hive's counts where Kyuubi's is not given.
const PROXY: &str = "kyuubi.session.proxy.user";
const HIVE_PROXY: &str = "hive.server2.proxy.user";

/// The database that clients name which want none.
const DEFAULT: &str = "default";
/// The conf that names the catalog in which sessions begin.
const DEFAULT_CATALOG: &str = "spark.sql.defaultCatalog";

/// What was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Opening {
    /// The catalog to begin in.
    pub(crate) catalog: Option<String>,
    /// The database to begin in.
    pub(crate) database: Option<String>,
    /// The user to act for.
    pub(crate) proxy_user: Option<String>,
    /// Confs to set.
    pub(crate) confs: BTreeMap<String, String>,
    /// The profile of its driver.
    pub(crate) profile: Option<String>,
    /// A name for people.
    pub(crate) name: Option<String>,
    /// Rows that the client likes to fetch at once.
    pub(crate) fetch_size: Option<u32>,
    /// How long a statement may run.
    pub(crate) query_timeout: Option<Duration>,
    /// How long the session may be idle.
    pub(crate) idle: Option<Duration>,
    /// With whom it wants to be on a driver.
    pub(crate) share: Option<share::Asked>,
    /// True where a statement is finished for its client with its first rows.
    pub(crate) incremental: bool,
    /// What was not heeded, for the session's log.
    pub(crate) notes: Vec<String>,
}

impl Opening {
    /// Reads the keys in the order in which they came; the last of several counts.
    ///
    /// # Errors
    /// A key that a session must not have, or a value that cannot be read.
    pub(crate) fn read(pairs: &[(String, String)]) -> Result<Self, Failure> {
        let bytes: usize = pairs.iter().map(|(key, value)| key.len() + value.len()).sum();
        if bytes > MAX_BYTES {
            return Err(Failure::invalid(format!(
                "the session's configuration has {bytes} bytes; {MAX_BYTES} is the most"
            )));
        }
        let mut opening = Self::default();
        // Maps of clients have no order.
        let (hive, others): (Vec<_>, Vec<_>) = pairs.iter().partition(|(key, _)| key.ends_with(HIVE_PROXY));
        for (key, value) in hive.into_iter().chain(others) {
            opening.take(key, value)?;
        }
        Ok(opening)
    }

    fn take(&mut self, key: &str, value: &str) -> Result<(), Failure> {
        if let Some(of) = key.strip_prefix("use:") {
            let given = Some(value.to_owned()).filter(|value| !value.is_empty());
            match of {
                "database" => self.database = given,
                "catalog" => self.catalog = given,
                _ => self.note(key, "is not known"),
            }
            return Ok(());
        }
        let plain = match key.strip_prefix("set:") {
            None => key,
            Some(rest) => match rest.split_once(':') {
                Some(("hiveconf" | "hivevar" | "system" | "metaconf", plain)) => plain,
                Some(("env", name)) => {
                    return Err(Failure::invalid(format!(
                        "the environment variable {name} cannot be set by a session; leave it out"
                    )));
                }
                _ => rest,
            },
        };
        self.take_plain(plain, value)
    }

    fn take_plain(&mut self, key: &str, value: &str) -> Result<(), Failure> {
        match key {
            "" => {}
            PROXY | HIVE_PROXY => self.proxy_user = Some(value.to_owned()),
            "berth.profile" => self.profile = Some(value.to_owned()),
            "wmapp" | "applicationName" | "kyuubi.session.name" => self.name = Some(value.to_owned()),
            "wmpool" => {}
            "hive.server2.thrift.resultset.default.fetch.size" => self.fetch_size = value.parse().ok(),
            _ if key.starts_with("hive.server2.") || key.starts_with("kyuubi.client.") => {}
            _ if key.starts_with("kyuubi.") => self.kyuubi(key, value)?,
            _ if key.starts_with("spark.") => self.spark(key, value)?,
            _ => drop(self.confs.insert(key.to_owned(), value.to_owned())),
        }
        Ok(())
    }

    fn kyuubi(&mut self, key: &str, value: &str) -> Result<(), Failure> {
        match key {
            "kyuubi.session.idle.timeout" => self.idle = Some(duration(key, value)?),
            "kyuubi.operation.query.timeout" => {
                self.query_timeout = Some(duration(key, value)?).filter(|limit| !limit.is_zero());
            }
            "kyuubi.operation.incremental.collect" => self.incremental = value.eq_ignore_ascii_case("true"),
            "kyuubi.engine.type" if !value.eq_ignore_ascii_case("SPARK_SQL") => {
                return Err(Failure::unsupported(format!(
                    "{key} {value} is not there: sessions run on Spark; use SPARK_SQL or leave it out"
                )));
            }
            "kyuubi.engine.type" => {}
            "kyuubi.operation.language" if !value.eq_ignore_ascii_case("SQL") => {
                return Err(statement::language(value));
            }
            "kyuubi.operation.language" => {}
            statement::PLAN_ONLY => statement::runs(value)?,
            "kyuubi.engine.share.level" => self.share().level = Some(level(key, value)?),
            "kyuubi.engine.share.level.subdomain" | "kyuubi.engine.share.level.sub.domain" => {
                self.share().subdomain = subdomain(key, value)?;
            }
            _ => self.note(key, "has no meaning in Berth and is ignored"),
        }
        Ok(())
    }

    fn share(&mut self) -> &mut share::Asked {
        self.share.get_or_insert(share::Asked {
            level: None,
            subdomain: None,
        })
    }

    fn spark(&mut self, key: &str, value: &str) -> Result<(), Failure> {
        if key == "spark.sql.thriftServer.incrementalCollect" {
            self.incremental = value.eq_ignore_ascii_case("true");
        }
        match spark::fate(key) {
            Fate::Set => drop(self.confs.insert(key.to_owned(), value.to_owned())),
            Fate::Ignored => self.note(
                key,
                "belongs to the driver, which the profile describes; it is ignored",
            ),
            Fate::Refused => {
                return Err(Failure::new(
                    "42501",
                    format!(
                        "{key} may not be set by a session; unset it, or ask the operator for a profile that has it"
                    ),
                ));
            }
        }
        Ok(())
    }

    fn note(&mut self, key: &str, text: &str) {
        self.notes.push(format!("WARN {key} {text}"));
    }

    /// The statements that bring a new session to where it begins.
    pub(crate) fn statements(&self) -> Vec<Step> {
        let catalog = self.catalog.iter().map(|name| Step {
            text: set_catalog(name),
            may_miss: false,
        });
        // Every JDBC driver names the default one, in which sessions begin unless they are in another catalog.
        let stays = self.catalog.is_none() && !self.confs.contains_key(DEFAULT_CATALOG);
        let named = self.database.iter();
        let database = named
            .filter(|name| !(stays && *name == DEFAULT))
            .map(|name| Step {
                text: format!("USE {}", quoted(name)),
                may_miss: name == DEFAULT,
            });
        catalog.chain(database).collect()
    }
}

/// A statement at the beginning of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) text: String,
    /// True where what it names may be missing.
    pub(crate) may_miss: bool,
}

/// An identifier in backquotes.
pub(crate) fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// The statement that goes to a catalog. Its name is a text: Spark 4.3 takes an identifier there for a column.
fn set_catalog(name: &str) -> String {
    let escaped = name.replace('\\', "\\\\").replace('\'', "\\'");
    format!("SET CATALOG '{escaped}'")
}

/// A level in Kyuubi's words. A tenant is the widest that shares a driver.
///
/// # Errors
/// It is none.
pub(crate) fn level(key: &str, value: &str) -> Result<Level, Failure> {
    match value.trim().to_ascii_uppercase().as_str() {
        "CONNECTION" => Ok(Level::Session),
        "USER" => Ok(Level::User),
        "GROUP" | "SERVER" | "SERVER_LOCAL" => Ok(Level::Tenant),
        _ => Err(Failure::invalid(format!(
            "{key} '{value:.100}' is no level; it can be CONNECTION, USER, GROUP or SERVER"
        ))),
    }
}

/// A level in Kyuubi's words, as clients are told.
pub(crate) const fn level_name(level: Level) -> &'static str {
    match level {
        Level::Session => "CONNECTION",
        Level::User => "USER",
        Level::Tenant => "GROUP",
    }
}

fn subdomain(key: &str, value: &str) -> Result<Option<String>, Failure> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if value.len() > MAX_SUBDOMAIN_CHARS || !value.chars().all(is_plain) {
        return Err(Failure::invalid(format!(
            "{key} '{value:.100}' is not up to {MAX_SUBDOMAIN_CHARS} letters, digits, '.', '_' or '-'"
        )));
    }
    // Kyuubi's own default names the driver that those without one share.
    Ok(Some(value.to_owned()).filter(|value| !value.is_empty() && value != "default"))
}

/// A duration: milliseconds, or as ISO 8601 writes it (`PT1H30M`).
fn duration(key: &str, value: &str) -> Result<Duration, Failure> {
    let wrong = || {
        Failure::invalid(format!(
            "{key} {value} is no duration; write milliseconds, or PT30M for half an hour"
        ))
    };
    if let Ok(millis) = value.parse() {
        return Ok(Duration::from_millis(millis));
    }
    iso(&value.to_ascii_uppercase()).ok_or_else(wrong)
}

fn iso(text: &str) -> Option<Duration> {
    let rest = text.strip_prefix('P')?;
    let (days, times) = rest.split_once('T').unwrap_or((rest, ""));
    let mut seconds = 0f64;
    for (part, units) in [
        (days, &[('D', 86_400.0)][..]),
        (times, &[('H', 3600.0), ('M', 60.0), ('S', 1.0)]),
    ] {
        let mut rest = part;
        while !rest.is_empty() {
            let end = rest.find(|c: char| c.is_ascii_alphabetic())?;
            let (number, unit) = (rest.get(..end)?, rest[end..].chars().next()?);
            let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
            seconds += number.parse::<f64>().ok()? * factor;
            rest = &rest[end + 1..];
        }
    }
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests;
