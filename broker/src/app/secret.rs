//! The key that all brokers sign cookies with, so that one that another has given out is good here.

use berth_core::keys;
use berth_core::record::{FORMAT, Record as _, SecretRecord};
use berth_runtime::auth::Cookies;
use berth_store::{Compare, StoreError, StoreRef, Txn};
use uuid::Uuid;

use crate::commit::{commit, get};

/// Cookies signed with the key in the store. Where there is none, or one that cannot be read, this broker makes it:
/// then those that were given out before are worth nothing, and clients log in again.
///
/// # Errors
/// [`StoreError`].
pub(super) async fn cookies(store: &StoreRef) -> Result<Cookies, StoreError> {
    let key = keys::COOKIES;
    loop {
        let entry = get(store, key).await?;
        let (unchanged, stored) = match &entry {
            None => (Compare::Absent(key.to_owned()), None),
            Some(entry) => {
                let record = SecretRecord::decode(key, &entry.value);
                let record = record.inspect_err(|error| tracing::warn!(%error, "cookies get another key"));
                (
                    Compare::ModRevision(key.to_owned(), entry.mod_revision),
                    record.ok(),
                )
            }
        };
        if let Some(record) = stored {
            return Ok(Cookies::new(record.secret.as_bytes()));
        }
        let made = SecretRecord {
            format: FORMAT,
            secret: format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple()),
        };
        let value = made.encode();
        let txn = Txn::new().when(unchanged).put(key, value.clone());
        if commit(store, txn, (key, &value)).await?.is_some() {
            return Ok(Cookies::new(made.secret.as_bytes()));
        }
    }
}

#[cfg(test)]
mod tests {
    use berth_runtime::auth::Tokens;
    use berth_store::embedded::Embedded;

    use super::*;

    #[tokio::test]
    async fn brokers_that_start_at_once_have_one_key() {
        // hs2#10
        let directory = tempfile::tempdir().unwrap();
        let store: StoreRef = Embedded::open(directory.path()).unwrap();
        let (one, other) = tokio::join!(cookies(&store), cookies(&store));
        let file = directory.path().join("tokens");
        std::fs::write(&file, "ann-token-0123456789 ann science\n").unwrap();
        let tokens = Tokens::load(file).unwrap();
        let cookie = one.unwrap().make("ann", "ann-token-0123456789", 2);
        assert!(other.unwrap().token(&cookie, &tokens, 1).is_some());
        let later = cookies(&store).await.unwrap();
        assert!(later.token(&cookie, &tokens, 1).is_some());

        let damage = Txn::new().put(keys::COOKIES, b"?".to_vec());
        store.txn(damage).await.unwrap();
        let mended = cookies(&store).await.unwrap();
        assert!(mended.token(&cookie, &tokens, 1).is_none());
    }
}
