//! Who calls and from where, and what callers are told that nobody knows.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Request};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use berth_runtime::auth::Identity;
use berth_runtime::listen::{OverTls, Peer};
use http::header::{AUTHORIZATION, HOST, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::json;

use super::Kyuubi;
use super::refusal::{self, Refusal};
use crate::dialects::hs2;
use crate::dialects::sql::Caller;

/// Longest address that is taken from a header.
const MAX_ADDRESS_CHARS: usize = 255;
/// The port of a client that names none, without TLS and with it.
const PORTS: [u16; 2] = [80, 443];

/// Who calls.
pub(super) struct By(pub(super) Caller);

impl<S: Sync> FromRequestParts<S> for By {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        let identity = parts.extensions.get::<Identity>().cloned().unwrap_or_default();
        let caller = hs2::caller(identity);
        Ok(Self(caller.map_err(|failure| Refusal::Forbidden(failure.text))?))
    }
}

/// True, in the extensions of a request, where nobody is asked who they are, and everybody may administrate.
#[derive(Debug, Clone, Copy)]
pub(super) struct Believed(pub(super) bool);

/// Who calls, as a user of sessions: where nobody is asked who they are, nobody has more rights to those of others.
pub(super) struct User(pub(super) Caller);

impl<S: Sync> FromRequestParts<S> for User {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let By(mut caller) = By::from_request_parts(parts, state).await?;
        let is_believed = parts.extensions.get().is_none_or(|Believed(believed)| *believed);
        caller.operator &= !is_believed;
        Ok(Self(caller))
    }
}

impl By {
    /// The caller, who must be an operator.
    ///
    /// # Errors
    /// [`Refusal::Forbidden`].
    pub(super) fn operator(&self, doing: &str) -> Result<&Caller, Refusal> {
        if self.0.operator {
            return Ok(&self.0);
        }
        let user = self.0.name();
        Err(Refusal::Forbidden(format!(
            "{user} is not allowed to {doing}: add 'operator' to the line of {user} in the token file"
        )))
    }
}

/// From where a client calls, and under which address it knows this broker.
pub(super) struct From {
    pub(super) client_ip: String,
    /// Any broker serves any session: what the client called is a way back, whatever is behind it.
    pub(super) instance: String,
}

impl FromRequestParts<Arc<Kyuubi>> for From {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, kyuubi: &Arc<Kyuubi>) -> Result<Self, Refusal> {
        let told = text(&parts.headers, &kyuubi.config.client_ip_header);
        let peer = || parts.extensions.get::<Peer>().map(|peer| peer.0.to_string());
        let client_ip = told.or_else(peer).unwrap_or_default();
        let host =
            text(&parts.headers, HOST.as_str()).or_else(|| parts.uri.authority().map(ToString::to_string));
        Ok(Self {
            client_ip,
            instance: with_port(
                host.unwrap_or_else(|| "localhost".to_owned()),
                parts.extensions.get::<OverTls>().is_some(),
            ),
        })
    }
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    let value = headers.get(name)?.to_str().ok()?;
    Some(value.chars().take(MAX_ADDRESS_CHARS).collect())
}

fn with_port(host: String, over_tls: bool) -> String {
    let has_port = host
        .rsplit_once(':')
        .is_some_and(|(_, port)| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()));
    match has_port {
        true => host,
        false => format!("{host}:{}", PORTS[usize::from(over_tls)]),
    }
}

/// Turns a refusal of the layer that authenticates into Kyuubi's: 401 for a caller who shows nothing that could be
/// looked at, 403 for one who shows what is wrong.
pub(super) async fn in_kyuubis_words(request: Request, next: Next) -> Response {
    let shows = shows_something(request.headers());
    let response = next.run(request).await;
    if response.status() != StatusCode::UNAUTHORIZED {
        return response;
    }
    if shows {
        let text = "the user, its password or the token is wrong; the password is a token of the token file";
        return Refusal::Forbidden(text.to_owned()).into_response();
    }
    let text =
        "nobody has logged in; send Basic authentication with a token as the password, or a bearer token";
    let mut response = refusal::json(StatusCode::UNAUTHORIZED, &json!({ "message": text }));
    for scheme in ["BASIC", "BEARER"] {
        response
            .headers_mut()
            .append(WWW_AUTHENTICATE, HeaderValue::from_static(scheme));
    }
    response
}

/// True for a token, and for a user with a password.
fn shows_something(headers: &HeaderMap) -> bool {
    let shown = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let Some((scheme, rest)) = shown.and_then(|shown| shown.split_once(' ')) else {
        return false;
    };
    if scheme.eq_ignore_ascii_case("bearer") {
        return !rest.trim().is_empty();
    }
    let decoded = STANDARD.decode(rest.trim()).unwrap_or_default();
    let decoded = String::from_utf8_lossy(&decoded);
    let named = decoded.split_once(':');
    scheme.eq_ignore_ascii_case("basic")
        && named.is_some_and(|(user, password)| !user.trim().is_empty() && !password.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_shows_something_is_told_that_it_is_wrong() {
        // kyuubi#4, kyuubi#5, kyuubi#6, kyuubi#8
        let basic = |scheme: &str, text: &str| format!("{scheme} {}", STANDARD.encode(text));
        let table = [
            (basic("BASIC", "ann:x:y:z"), true),
            (basic("basic", "ann:x"), true),
            (basic("Basic", "ann:"), false),
            (basic("Basic", ":x"), false),
            (basic("Basic", "ann"), false),
            ("Bearer x".to_owned(), true),
            ("Negotiate x".to_owned(), false),
            ("Basic ???".to_owned(), false),
        ];
        for (value, expected) in table {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, value.parse().unwrap());
            assert_eq!(shows_something(&headers), expected, "{value}");
        }
        assert!(!shows_something(&HeaderMap::new()));
    }

    #[test]
    fn an_address_has_a_port() {
        // kyuubi#11
        let table = [
            ("berth", false, "berth:80"),
            ("berth", true, "berth:443"),
            ("berth:10099", true, "berth:10099"),
            ("[::1]", false, "[::1]:80"),
            ("[::1]", true, "[::1]:443"),
            ("[::1]:10099", false, "[::1]:10099"),
        ];
        for (host, over_tls, expected) in table {
            assert_eq!(with_port(host.to_owned(), over_tls), expected);
        }
    }
}
