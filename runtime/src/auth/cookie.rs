//! Cookies that stand for a login, for clients that would rather not show their token with every request.
//!
//! `<user>.<until>.<signature>`: the signature is made with the user's token and a key that all replicas share. So a
//! cookie is good at any of them, tells nothing about the token to who has only the cookie, and ends with the token.

use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign, verify};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as TEXT;

use super::Tokens;

/// Makes and reads cookies.
#[derive(Debug, Clone)]
pub struct Cookies {
    key: Key,
}

impl Cookies {
    /// Cookies that are signed with this key, a secret of all replicas.
    pub fn new(key: &[u8]) -> Self {
        Self {
            key: Key::new(HMAC_SHA256, key),
        }
    }

    /// A cookie for who has shown this token, good until a time in Unix milliseconds.
    pub fn make(&self, user: &str, token: &str, until: u64) -> String {
        let signature = sign(&self.of_token(token), signed(user, until).as_bytes());
        format!("{}.{until}.{}", TEXT.encode(user), TEXT.encode(signature))
    }

    /// The token that a cookie stands for; `None` if it is none, too old, or the token is not in the file any more.
    pub fn token(&self, cookie: &str, tokens: &Tokens, now: u64) -> Option<String> {
        let mut parts = cookie.split('.');
        let (user, until, signature) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() {
            return None;
        }
        let user = String::from_utf8(TEXT.decode(user).ok()?).ok()?;
        let until: u64 = until.parse().ok()?;
        let signature = TEXT.decode(signature).ok()?;
        if now >= until {
            return None;
        }
        let signed = signed(&user, until);
        tokens.of_user(&user, |token| {
            verify(&self.of_token(token), signed.as_bytes(), &signature).is_ok()
        })
    }

    fn of_token(&self, token: &str) -> Key {
        Key::new(HMAC_SHA256, sign(&self.key, token.as_bytes()).as_ref())
    }
}

/// The time comes first: where it ends is plain, whatever the user is called.
fn signed(user: &str, until: u64) -> String {
    format!("{until} {user}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANN: &str = "ann-token-0123456789";
    const NEW: &str = "ann-token-9876543210";

    fn tokens(text: &str) -> std::sync::Arc<Tokens> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Tokens::load(file.path().to_owned()).unwrap()
    }

    #[test]
    fn i7_a_cookie_is_its_users_token_while_there_is_that_token() {
        // hs2#10
        let cookies = Cookies::new(b"shared by all replicas");
        let now = tokens(&format!(
            "{NEW} ann science\n{ANN} ann science\nbob-token-0123456789 bob arts\n"
        ));
        let cookie = cookies.make("ann", ANN, 1000);
        let found = |cookie: &str, tokens: &Tokens, at| cookies.token(cookie, tokens, at);
        assert_eq!(found(&cookie, &now, 999).as_deref(), Some(ANN));
        let elsewhere = Cookies::new(b"shared by all replicas");
        assert_eq!(elsewhere.token(&cookie, &now, 999).as_deref(), Some(ANN));

        assert_eq!(found(&cookie, &now, 1000), None, "too old");
        assert_eq!(Cookies::new(b"another").token(&cookie, &now, 999), None);
        let changed = tokens(&format!("{NEW} ann science\n"));
        assert_eq!(found(&cookie, &changed, 999), None, "the token was taken away");
        let given_on = tokens(&format!("{ANN} bob science\n"));
        assert_eq!(found(&cookie, &given_on, 999), None, "it is somebody else's now");
    }

    #[test]
    fn i7_whatever_is_changed_in_a_cookie_makes_it_worthless() {
        let cookies = Cookies::new(b"key");
        let now = tokens(&format!("{ANN} ann science\nbob-token-0123456789 bob arts\n"));
        let cookie = cookies.make("ann", ANN, 1000);
        let (user, rest) = cookie.split_once('.').unwrap();
        let (_, signature) = rest.split_once('.').unwrap();
        let bob = TEXT.encode("bob");
        let tampered = [
            format!("{bob}.1000.{signature}"),
            format!("{user}.9000.{signature}"),
            format!("{user}.1000."),
            format!("{user}.1000.{}", TEXT.encode("x")),
            format!("{cookie}.x"),
            format!("{user}.1000"),
            "%.1000.x".to_owned(),
            String::new(),
        ];
        for cookie in tampered {
            assert_eq!(cookies.token(&cookie, &now, 1), None, "{cookie}");
        }
        for at in 0..cookie.len() {
            let mut bytes = cookie.clone().into_bytes();
            bytes[at] ^= 1;
            let changed = String::from_utf8_lossy(&bytes).into_owned();
            assert_eq!(cookies.token(&changed, &now, 1), None, "{changed}");
        }
    }
}
