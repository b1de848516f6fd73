//! Static tokens from a file: lines of `token user tenant`, with `operator` as a fourth word for who may see and
//! change everybody's sessions; empty lines and those that begin with `#` are comments.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use super::Identity;
use crate::tasks::Tasks;

/// A token that can be guessed is none.
const MIN_TOKEN_BYTES: usize = 16;
/// How often the file is looked at.
const POLL: Duration = Duration::from_secs(10);

/// Why a file of tokens cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokensError {
    /// The file cannot be read.
    #[error("the token file {path} cannot be read: {source}; name another in [auth]")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A line is not one. The line itself is not shown: it may hold a token.
    #[error(
        "line {line} of the token file {path} {reason}; lines are 'token user tenant' or 'token user tenant operator'"
    )]
    Line {
        /// The file.
        path: PathBuf,
        /// Its number, from 1.
        line: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// The tokens of a file.
pub struct Tokens {
    path: PathBuf,
    rows: ArcSwap<Vec<Row>>,
}

#[derive(PartialEq, Eq)]
struct Row {
    token: String,
    identity: Identity,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Tokens {
    /// Reads the file.
    ///
    /// # Errors
    /// [`TokensError`].
    pub fn load(path: PathBuf) -> Result<Arc<Self>, TokensError> {
        let rows = ArcSwap::from_pointee(parse(&path)?);
        Ok(Arc::new(Self { path, rows }))
    }

    /// Who a token belongs to. Takes the same time whichever token nearly fits.
    pub fn find(&self, token: &str) -> Option<Identity> {
        let rows = self.rows.load();
        let mut found = None;
        for row in rows.iter() {
            if same(row.token.as_bytes(), token.as_bytes()) {
                found = Some(&row.identity);
            }
        }
        found.cloned()
    }

    /// The first token of a user that is wanted.
    pub(super) fn of_user(&self, user: &str, is_wanted: impl Fn(&str) -> bool) -> Option<String> {
        let rows = self.rows.load();
        let mut own = rows
            .iter()
            .filter(|row| row.identity.user.as_deref() == Some(user));
        let found = own.find(|row| is_wanted(&row.token));
        found.map(|row| row.token.clone())
    }

    /// Reads the file again. Answers true if it had changed; on an error the tokens before stay in use.
    ///
    /// # Errors
    /// [`TokensError`].
    pub fn reload(&self) -> Result<bool, TokensError> {
        let rows = parse(&self.path)?;
        if rows == **self.rows.load() {
            return Ok(false);
        }
        self.rows.store(Arc::new(rows));
        Ok(true)
    }

    /// Reloads whenever the file changes, until the tasks drain.
    pub fn keep_fresh(self: &Arc<Self>, tasks: &Tasks) {
        let (tokens, draining) = (Arc::clone(self), tasks.shutdown().clone());
        tasks.spawn("token reload", async move {
            let mut ticks = tokio::time::interval(POLL);
            loop {
                tokio::select! {
                    _ = ticks.tick() => {}
                    () = draining.draining() => return,
                }
                match tokens.reload() {
                    Ok(false) => {}
                    Ok(true) => tracing::info!(path = %tokens.path.display(), "tokens reloaded"),
                    Err(error) => tracing::warn!(%error, "the tokens before stay in use"),
                }
            }
        });
    }
}

/// Compares without telling by its duration where the difference is.
fn same(one: &[u8], other: &[u8]) -> bool {
    let difference = one
        .iter()
        .zip(other)
        .fold(0u8, |all, (one, other)| black_box(all | (one ^ other)));
    difference == 0 && one.len() == other.len()
}

fn parse(path: &Path) -> Result<Vec<Row>, TokensError> {
    let text = std::fs::read_to_string(path).map_err(|source| TokensError::File {
        path: path.to_owned(),
        source,
    })?;
    let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
    let rows = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    rows.map(|(line, text)| {
        row(text).map_err(|reason| TokensError::Line {
            path: path.to_owned(),
            line,
            reason,
        })
    })
    .collect()
}

fn row(text: &str) -> Result<Row, &'static str> {
    let words: Vec<_> = text.split_whitespace().collect();
    let (token, user, tenant, operator) = match words[..] {
        [token, user, tenant] => (token, user, tenant, false),
        [token, user, tenant, "operator"] => (token, user, tenant, true),
        _ => return Err("is neither three words nor three words and 'operator'"),
    };
    if token.len() < MIN_TOKEN_BYTES {
        return Err("has a token of less than 16 characters");
    }
    Ok(Row {
        token: token.to_owned(),
        identity: Identity {
            user: Some(user.to_owned()),
            tenant: Some(tenant.to_owned()),
            operator,
        },
    })
}
