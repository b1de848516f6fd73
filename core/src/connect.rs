//! Lineage classes of Spark Connect requests, decided from the bytes of the request alone.
//!
//! Field numbers and observed behaviour: Spark Connect protocol 3.4 to 4.3. What the protocol adds later is taken
//! for a write: never run twice.

mod catalog;
mod command;
mod relation;
pub mod status;

use crate::lineage::Class;
use crate::sql;
use crate::wire::{self, Value, WireError};

/// What a request does, as far as recovery cares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Classified {
    /// The class.
    pub class: Class,
    /// For people: "createOrReplaceTempView v", "INSERT". At most [`Classified::MAX_WHAT`] characters.
    pub what: String,
    /// Entries with equal, non-empty keys replace each other. Empty: nothing replaces it.
    pub key: String,
    /// Server-side objects that the request refers to; they exist on one driver only.
    pub handles: Vec<String>,
    /// Uploaded blobs `cache/<hash>` that the request refers to.
    pub blobs: Vec<String>,
    /// What it has to do with other requests.
    pub standing: Standing,
}

/// What a request that lasts has to do with others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Standing {
    /// Nothing: it works by itself.
    #[default]
    Works,
    /// It waits until others end.
    Waits,
    /// It carries the events of streaming queries to the client, until a request that closes it.
    OpensEvents,
    /// It ends what carries the events.
    ClosesEvents,
}

impl Standing {
    /// True when a driver may have died of it: what only waits is not to blame, however many drivers it outlives.
    #[must_use]
    pub fn is_to_blame(self) -> bool {
        self == Self::Works
    }
}

impl Classified {
    /// Longest `what`, in characters.
    pub const MAX_WHAT: usize = 120;

    /// A request that refers to nothing; `what` is cut to its longest.
    #[must_use]
    pub fn new(class: Class, what: impl AsRef<str>) -> Self {
        let what = what.as_ref().chars().take(Self::MAX_WHAT).collect();
        Self {
            class,
            what,
            key: String::new(),
            handles: Vec::new(),
            blobs: Vec::new(),
            standing: Standing::Works,
        }
    }

    fn standing(mut self, standing: Standing) -> Self {
        self.standing = standing;
        self
    }

    fn keyed(mut self, kind: &str, name: &str) -> Self {
        self.key = format!("{kind}:{name}");
        self
    }

    /// Joins with what a part of the same request does: the graver class counts.
    fn with(mut self, part: Found) -> Self {
        if part.class > self.class {
            self.class = part.class;
            self.what = part.what;
            self.key = part.key;
        }
        self.handles.extend(part.handles);
        self.blobs.extend(part.blobs);
        self
    }
}

/// What a walk over relations found.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Found {
    class: Class,
    what: String,
    key: String,
    handles: Vec<String>,
    blobs: Vec<String>,
}

impl Default for Found {
    fn default() -> Self {
        let (what, key) = (String::new(), String::new());
        Self {
            class: Class::Read,
            what,
            key,
            handles: Vec::new(),
            blobs: Vec::new(),
        }
    }
}

/// A plan as the client compressed it (clients from 4.1, above 10 MiB). The shell inflates it, within a bound, and
/// asks [`classify_plan`] again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compressed<'a> {
    /// zstd data of a serialized relation or command.
    pub data: &'a [u8],
    /// True for a command, false for a relation.
    pub is_command: bool,
}

const EXECUTE_PLAN: u32 = 3;
const PLAN_ROOT: u32 = 1;
const PLAN_COMMAND: u32 = 2;
const PLAN_COMPRESSED: u32 = 3;

/// The compressed plan inside an `ExecutePlanRequest`, if that is how it came.
///
/// # Errors
/// [`WireError`] when the request is not protobuf.
pub fn compressed_plan(request: &[u8]) -> Result<Option<Compressed<'_>>, WireError> {
    let Some(plan) = wire::last_bytes(request, EXECUTE_PLAN)? else {
        return Ok(None);
    };
    let Some(operation) = wire::last_bytes(plan, PLAN_COMPRESSED)? else {
        return Ok(None);
    };
    let data = wire::last_bytes(operation, 1)?.unwrap_or_default();
    let is_command = wire::last_varint(operation, 2)? == Some(2);
    Ok(Some(Compressed { data, is_command }))
}

/// Classifies a whole `ExecutePlanRequest`. A compressed plan counts as a write until the shell has inflated it.
///
/// # Errors
/// [`WireError`] when the request is not protobuf or nested deeper than Spark accepts.
pub fn classify_execute(request: &[u8]) -> Result<Classified, WireError> {
    let plan = wire::last_bytes(request, EXECUTE_PLAN)?.unwrap_or_default();
    if let Some(command) = wire::last_bytes(plan, PLAN_COMMAND)? {
        return classify_plan(command, true);
    }
    match wire::last_bytes(plan, PLAN_ROOT)? {
        Some(relation) => classify_plan(relation, false),
        None => Ok(Classified::new(Class::Write, "compressed or unknown plan")),
    }
}

/// Classifies a serialized `Command` or `Relation`.
///
/// # Errors
/// As [`classify_execute`].
pub fn classify_plan(plan: &[u8], is_command: bool) -> Result<Classified, WireError> {
    if is_command {
        return command::classify(plan);
    }
    let query = Classified::new(Class::Read, "query");
    Ok(query.with(relation::walk(plan, relation::Use::Execute)?))
}

/// Classifies a whole `AnalyzePlanRequest`: persisting changes state, and a catalog operation inside an analysed
/// plan is executed by Spark.
///
/// # Errors
/// As [`classify_execute`].
pub fn classify_analyze(request: &[u8]) -> Result<Classified, WireError> {
    for field in wire::fields(request) {
        let field = field?;
        let Value::Bytes(part) = field.value else { continue };
        match field.number {
            // schema, explain, tree_string, is_local, is_streaming, input_files hold a Plan in field 1;
            // same_semantics two of them; semantic_hash one.
            4..=9 | 12 | 13 => return analyzed(part),
            14 => return cached(part, "persist"),
            15 => return cached(part, "unpersist"),
            _ => {}
        }
    }
    Ok(Classified::new(Class::Read, "analyze"))
}

fn analyzed(part: &[u8]) -> Result<Classified, WireError> {
    let mut classified = Classified::new(Class::Read, "analyze");
    for number in [1, 2] {
        let plan = wire::last_bytes(part, number)?;
        if let Some(root) = plan
            .map(|plan| wire::last_bytes(plan, PLAN_ROOT))
            .transpose()?
            .flatten()
        {
            classified = classified.with(relation::walk(root, relation::Use::Analyze)?);
        }
    }
    Ok(classified)
}

fn cached(part: &[u8], what: &str) -> Result<Classified, WireError> {
    let relation = wire::last_bytes(part, 1)?.unwrap_or_default();
    Ok(Classified::new(Class::State, what).with(relation::walk(relation, relation::Use::Analyze)?))
}

/// Classifies a whole `ConfigRequest`.
///
/// # Errors
/// As [`classify_execute`].
pub fn classify_config(request: &[u8]) -> Result<Classified, WireError> {
    let operation = wire::last_bytes(request, 3)?.unwrap_or_default();
    if let Some(set) = wire::last_bytes(operation, 1)? {
        let pairs = wire::all_bytes(set, 1)?;
        let keys = pairs
            .iter()
            .map(|pair| wire::last_text(pair, 1))
            .collect::<Result<Vec<_>, _>>()?;
        return Ok(configured("set", keys.into_iter().flatten().collect()));
    }
    if let Some(unset) = wire::last_bytes(operation, 6)? {
        let keys = wire::all_bytes(unset, 1)?;
        let keys = keys
            .iter()
            .map(|key| String::from_utf8_lossy(key).into_owned())
            .collect();
        return Ok(configured("unset", keys));
    }
    Ok(Classified::new(Class::Read, "conf.get"))
}

fn configured(verb: &str, mut keys: Vec<String>) -> Classified {
    keys.sort();
    let names = keys.join(",");
    Classified::new(Class::State, format!("{verb} {names}")).keyed("conf", &names)
}

/// Classifies SQL text inside a plan.
fn of_sql(text: &str) -> Classified {
    let statement = sql::classify(text);
    let mut classified = Classified::new(statement.class, &statement.what);
    classified.key = statement.key;
    classified
}

#[cfg(test)]
mod tests;
