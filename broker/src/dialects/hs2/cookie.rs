//! The cookie of calls over HTTP: who has logged in once need not show a token with each call.
//!
//! A request with a good cookie goes on as if it had shown the token that the cookie stands for, so that it has the
//! rights of that token now, whatever they were when the cookie was given out.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use berth_runtime::auth::{Authenticator, Cookies, Tokens, shown_token};
use berth_runtime::clock::unix_millis;
use http::header::{AUTHORIZATION, COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderValue, StatusCode};

/// The name that Hive's clients look for.
const NAME: &str = "hive.server2.auth";
/// Where it is sent to.
const PATH: &str = "/cliservice";

/// Gives out cookies and takes them.
#[derive(Debug)]
pub(crate) struct Jar {
    /// What tells good ones from bad ones.
    pub(crate) cookies: Cookies,
    /// Whose tokens they stand for.
    pub(crate) authenticator: Authenticator,
    /// For how long they are good.
    pub(crate) seconds: u64,
    /// True where they must not leave TLS.
    pub(crate) is_secure: bool,
}

impl Jar {
    /// The token that a good cookie of a request stands for.
    fn token(&self, headers: &HeaderMap, tokens: &Tokens) -> Option<String> {
        let now = unix_millis();
        values(headers).find_map(|value| self.cookies.token(value, tokens, now))
    }

    fn cookie(&self, user: &str, token: &str) -> String {
        let until = unix_millis().saturating_add(self.seconds.saturating_mul(1000));
        let value = self.cookies.make(user, token, until);
        let secure = if self.is_secure { "; Secure" } else { "" };
        let seconds = self.seconds;
        format!("{NAME}={value}; Max-Age={seconds}; Path={PATH}; HttpOnly; SameSite=Strict{secure}")
    }
}

/// Lets a cookie stand for a login, and gives one to who has logged in.
pub(super) async fn remember(State(jar): State<Arc<Jar>>, mut request: Request, next: Next) -> Response {
    let Authenticator::Tokens(tokens) = &jar.authenticator else {
        return next.run(request).await;
    };
    let known = jar.token(request.headers(), tokens);
    let shown = shown_token(request.headers());
    // Credentials come first: who shows some wants to be judged by them.
    if !request.headers().contains_key(AUTHORIZATION)
        && let Some(token) = &known
        && let Ok(value) = HeaderValue::from_str(&format!("Bearer {token}"))
    {
        request.headers_mut().insert(AUTHORIZATION, value);
    }
    let mut response = next.run(request).await;
    let fresh = shown.filter(|token| response.status() == StatusCode::OK && known.as_ref() != Some(token));
    let user = fresh.as_deref().and_then(|token| tokens.find(token)?.user);
    if let (Some(token), Some(user)) = (fresh, user)
        && let Ok(cookie) = HeaderValue::from_str(&jar.cookie(&user, &token))
    {
        // That of a broker that the call was passed on to would do as well.
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    response
}

/// The values of the cookies of this name. Some clients send back the attributes too, which have other names.
fn values(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers
        .get_all(COOKIE)
        .into_iter()
        .filter_map(|line| line.to_str().ok());
    let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        Some((name.trim(), value.trim().trim_matches('"')))
    });
    pairs.filter(|(name, _)| *name == NAME).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_found_among_others_and_with_its_attributes() {
        // hs2#10
        let mut headers = HeaderMap::new();
        headers.append(
            COOKIE,
            "a=b; hive.server2.auth=x.1.y; Max-Age=60; HttpOnly"
                .parse()
                .unwrap(),
        );
        headers.append(
            COOKIE,
            "hive.server2.auth=\"z\"; hive.server2.authentic=q"
                .parse()
                .unwrap(),
        );
        assert_eq!(values(&headers).collect::<Vec<_>>(), ["x.1.y", "z"]);
    }
}
