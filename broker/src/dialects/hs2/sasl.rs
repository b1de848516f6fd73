//! SASL as Thrift's clients speak it: messages of the login, then frames.
//!
//! Only PLAIN, which has no security layer: frames are a stream of bytes cut anywhere.

/// Longest payload of a message of the login.
pub(crate) const MAX_LOGIN_BYTES: usize = 64 << 10;
/// Length of what every message of the login begins with.
pub(crate) const HEAD_BYTES: usize = 5;

/// What a message of the login says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Start = 1,
    Ok = 2,
    Bad = 3,
    Error = 4,
    Complete = 5,
}

/// What a client's login came to. It is shown to the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    /// The mechanism is another one.
    #[error("the mechanism {0} is not offered here; use PLAIN")]
    Mechanism(String),
    /// The message is none.
    #[error("the login cannot be read: {0}")]
    Unreadable(&'static str),
    /// The user or the password is wrong.
    #[error(
        "Error validating the login: the password is no token of this user; the token file of the broker has the tokens"
    )]
    Login,
}

/// Who logs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plain {
    /// The user. A user to act for is not taken from here: it would need no right.
    pub(crate) user: String,
    /// The password.
    pub(crate) password: String,
}

/// Reads what a message of the login begins with: its status and the length of its payload.
///
/// # Errors
/// [`Refused::Unreadable`].
pub(crate) fn head(bytes: [u8; HEAD_BYTES]) -> Result<(Status, usize), Refused> {
    let [status, length @ ..] = bytes;
    let status = match status {
        1 => Status::Start,
        2 => Status::Ok,
        3 => Status::Bad,
        4 => Status::Error,
        5 => Status::Complete,
        _ => return Err(Refused::Unreadable("its status is none")),
    };
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > MAX_LOGIN_BYTES {
        return Err(Refused::Unreadable("it is longer than 64 KiB"));
    }
    Ok((status, length))
}

/// A message of the login.
pub(crate) fn message(status: Status, payload: &[u8]) -> Vec<u8> {
    let mut message = vec![status as u8];
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    message.extend_from_slice(&length.to_be_bytes());
    message.extend_from_slice(payload);
    message
}

/// Checks the mechanism that a client starts with.
///
/// # Errors
/// [`Refused::Mechanism`].
pub(crate) fn mechanism(payload: &[u8]) -> Result<(), Refused> {
    if payload == b"PLAIN" {
        return Ok(());
    }
    let shown = String::from_utf8_lossy(payload);
    Err(Refused::Mechanism(shown.chars().take(40).collect()))
}

/// Reads the response of PLAIN: `[authorization id] NUL user NUL password`.
///
/// # Errors
/// [`Refused::Unreadable`].
pub(crate) fn plain(payload: &[u8]) -> Result<Plain, Refused> {
    let unreadable = |_error: std::str::Utf8Error| Refused::Unreadable("it is no UTF-8");
    let text = std::str::from_utf8(payload).map_err(unreadable)?;
    let parts: Vec<&str> = text.split('\0').collect();
    match parts[..] {
        [_, user, password] => Ok(Plain {
            user: user.to_owned(),
            password: password.to_owned(),
        }),
        _ => Err(Refused::Unreadable("it has not the three parts of PLAIN")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_of_plain() {
        type Case = (&'static [u8], Option<(&'static str, &'static str)>);
        let cases: [Case; 7] = [
            (b"\0ann\0secret", Some(("ann", "secret"))),
            // hs2#5: who logged in counts, not who they would like to be.
            (b"root\0ann\0secret", Some(("ann", "secret"))),
            (b"\0\0", Some(("", ""))),
            (
                "\0j\u{fc}rgen o'n@eil\\x\0p".as_bytes(),
                Some(("j\u{fc}rgen o'n@eil\\x", "p")),
            ),
            (b"ann", None),
            (b"\0ann\0a\0b", None),
            (b"\0\xff\0x", None),
        ];
        for (payload, expected) in cases {
            let read = plain(payload).ok();
            let expected = expected.map(|(user, password)| Plain {
                user: user.to_owned(),
                password: password.to_owned(),
            });
            assert_eq!(read, expected, "{payload:?}");
        }
    }

    #[test]
    fn other_mechanisms_and_long_messages_are_refused() {
        // hs2#4
        assert_eq!(mechanism(b"PLAIN"), Ok(()));
        let error = mechanism(b"GSSAPI").unwrap_err().to_string();
        assert!(error.contains("GSSAPI") && error.contains("use PLAIN"));
        assert_eq!(head([1, 0, 0, 0, 5]), Ok((Status::Start, 5)));
        assert!(head([1, 0x7f, 0, 0, 0]).is_err());
        assert!(head([9, 0, 0, 0, 0]).is_err());
        assert_eq!(message(Status::Complete, b""), [5, 0, 0, 0, 0]);
    }
}
