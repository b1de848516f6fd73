//! Who calls: one layer in front of everything that a port serves, before it is known which dialect a request is.
//!
//! With tokens, a request shows one as `Authorization: Bearer <token>` or as the password of Basic authentication.
//! Without, on loopback, callers are believed: the user is the one that Basic authentication names, or nobody.

mod cookie;
mod layer;
mod tokens;

use std::path::PathBuf;

use base64::Engine as _;
use http::HeaderMap;
use http::header::AUTHORIZATION;

pub use cookie::Cookies;
pub use layer::{Authenticate, AuthenticateLayer};
pub use tokens::{Tokens, TokensError};

/// Longest credential that is looked at.
const MAX_CREDENTIAL_BYTES: usize = 8 << 10;

/// Who was authenticated, in the extensions of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// The user; `None` when nobody asked and the caller did not say.
    pub user: Option<String>,
    /// The tenant that the user belongs to; `None` for the default.
    pub tenant: Option<String>,
    /// True for who may see and change everybody's sessions.
    pub operator: bool,
}

/// How callers are authenticated.
#[derive(Debug, Clone)]
pub enum Authenticator {
    /// Callers are believed. For loopback listeners.
    Trust,
    /// Callers show a token.
    Tokens(std::sync::Arc<Tokens>),
}

/// A credential as it came.
#[derive(Debug, PartialEq, Eq)]
enum Shown {
    Nothing,
    Token(String),
    Named { user: String, password: String },
    Unreadable,
}

impl Identity {
    /// Somebody who did not say who they are, where nobody asks.
    fn trusted() -> Self {
        Self {
            operator: true,
            ..Self::default()
        }
    }
}

impl Authenticator {
    /// Reads `file` if there is one; without, callers are believed.
    ///
    /// # Errors
    /// [`TokensError`], naming file and line.
    pub fn new(file: Option<PathBuf>) -> Result<Self, TokensError> {
        Ok(match file {
            Some(file) => Self::Tokens(Tokens::load(file)?),
            None => Self::Trust,
        })
    }

    /// True when callers must prove who they are.
    pub fn is_checking(&self) -> bool {
        matches!(self, Self::Tokens(_))
    }

    /// The caller who names a user and shows a password; `None` to refuse it.
    pub fn named(&self, user: &str, password: &str) -> Option<Identity> {
        match self {
            Self::Trust => Some(Identity {
                user: Some(user.to_owned()).filter(|user| !user.is_empty()),
                ..Identity::trusted()
            }),
            Self::Tokens(tokens) => tokens
                .find(password)
                .filter(|identity| identity.user.as_deref() == Some(user)),
        }
    }

    /// The caller of a request with these headers; `None` to refuse it.
    pub fn identify(&self, headers: &HeaderMap) -> Option<Identity> {
        match (self, shown(headers)) {
            (_, Shown::Named { user, password }) => self.named(&user, &password),
            // Whatever else comes is meant for somebody else, as a token that a client sends to every server is.
            (Self::Trust, Shown::Nothing | Shown::Token(_) | Shown::Unreadable) => Some(Identity::trusted()),
            (Self::Tokens(tokens), Shown::Token(token)) => tokens.find(&token),
            (Self::Tokens(_), Shown::Nothing | Shown::Unreadable) => None,
        }
    }
}

/// The token that the caller of a request shows, whether it is good or not.
pub fn shown_token(headers: &HeaderMap) -> Option<String> {
    match shown(headers) {
        Shown::Token(token) => Some(token),
        Shown::Named { password, .. } => Some(password),
        Shown::Nothing | Shown::Unreadable => None,
    }
}

fn shown(headers: &HeaderMap) -> Shown {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (value, more) = (values.next(), values.next());
    let Some(value) = value else { return Shown::Nothing };
    // Two credentials: which one another layer would believe is anybody's guess.
    if more.is_some() || value.len() > MAX_CREDENTIAL_BYTES {
        return Shown::Unreadable;
    }
    value
        .to_str()
        .ok()
        .and_then(|value| value.split_once(' '))
        .and_then(|(scheme, rest)| read(scheme, rest.trim()))
        .unwrap_or(Shown::Unreadable)
}

fn read(scheme: &str, rest: &str) -> Option<Shown> {
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(Shown::Token(rest.to_owned()));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = base64::engine::general_purpose::STANDARD.decode(rest).ok()?;
    let decoded = String::from_utf8(decoded).ok()?;
    // Some clients leave the colon out where nobody asks for a password.
    let (user, password) = decoded.split_once(':').unwrap_or((&decoded, ""));
    (!user.is_empty()).then(|| Shown::Named {
        user: user.to_owned(),
        password: password.to_owned(),
    })
}

#[cfg(test)]
mod tests;
