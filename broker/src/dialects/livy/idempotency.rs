//! Repeated requests: a create or a statement that is sent again with the key of the first one gets its answer.
//!
//! A key belongs to its owner, and for a statement to its session. It lives as long as what it made, and it is
//! written in the transaction that makes it, so that of two replicas one makes it and the other one finds it.

use http::HeaderMap;
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_64;

use super::refusal::Refusal;

/// The header.
pub const HEADER: &str = "idempotency-key";
const MAX_LEN: usize = 255;
/// Names the ids that are made of keys.
const SPACE: Uuid = Uuid::from_u128(0x8a6f_2f0c_5d3b_4a8e_9d1e_6c2b_7f40_11aa);

/// A request's key, with what the request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    text: String,
    /// Fingerprint of the request.
    pub asked: u64,
}

impl Key {
    /// The key of a request with this body, if it has one.
    ///
    /// # Errors
    /// [`Refusal::Malformed`] for one that is no key.
    pub fn read(headers: &HeaderMap, body: &[u8]) -> Result<Option<Self>, Refusal> {
        let Some(value) = headers.get(HEADER) else {
            return Ok(None);
        };
        let text = value.to_str().ok().map(str::trim);
        match text.filter(|text| (1..=MAX_LEN).contains(&text.len())) {
            Some(text) => Ok(Some(Self {
                text: text.to_owned(),
                asked: xxh3_64(body),
            })),
            None => {
                let text = format!("Idempotency-Key is not 1 to {MAX_LEN} visible ASCII characters");
                Err(Refusal::Malformed(text))
            }
        }
    }

    /// What the key is written down as: one id for each owner, or session, and key.
    pub fn id(&self, of: &str) -> Uuid {
        Uuid::new_v5(&SPACE, format!("{of}\0{}", self.text).as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::super::listed::Keyed;
    use super::*;

    fn key(text: &str) -> Result<Option<Key>, Refusal> {
        let mut headers = HeaderMap::new();
        headers.insert(HEADER, text.parse().unwrap());
        Key::read(&headers, b"{}")
    }

    #[test]
    fn i7_a_key_belongs_to_its_owner() {
        let key = key(" a ").unwrap().unwrap();
        assert_eq!(key.id("alice"), key.id("alice"));
        assert_ne!(key.id("alice"), key.id("bob"));
        assert_eq!(Key::read(&HeaderMap::new(), b"{}"), Ok(None));
        // Of who acts for others, one for each of them.
        let of = |proxy_user| Keyed::of(&key, "gateway", proxy_user);
        assert_ne!(of(Some("bob")), of(Some("carol")));
        assert_ne!(of(Some("bob")), of(None));
        assert_eq!(of(Some("gateway")), of(None));
    }

    #[test]
    fn i8_what_is_no_key_is_refused() {
        for text in ["", " ", &"x".repeat(256)] {
            assert!(matches!(key(text), Err(Refusal::Malformed(_))), "{text}");
        }
        assert!(key(&"x".repeat(255)).is_ok());
    }
}
