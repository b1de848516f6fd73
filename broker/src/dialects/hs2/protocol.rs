//! Versions of the protocol and states of operations, as numbers.

use crate::dialects::sql::operation::State;

/// What a client is told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version(i32);

impl Version {
    /// From here, results are columns.
    pub(super) const COLUMNS: Version = Version(5);
    /// From here, there is a state for what took too long.
    const TIMED_OUT: Version = Version(8);
    /// The newest.
    const NEWEST: Version = Version(10);
    /// What a request without a version has.
    const UNNAMED: i64 = 9;

    /// The version for a client that offers this number: never a higher one, since some look for their own only.
    pub(super) fn agreed(offered: Option<i64>) -> Self {
        let offered = offered.unwrap_or(Self::UNNAMED).clamp(0, Self::NEWEST.0.into());
        Self(i32::try_from(offered).unwrap_or(Self::NEWEST.0))
    }

    /// The number that was agreed on with a session's client.
    pub(super) const fn of(number: i32) -> Self {
        Self(number)
    }

    /// Its number.
    pub(super) const fn number(self) -> i32 {
        self.0
    }
}

/// `TOperationState`, in the numbers that this version knows.
pub(super) fn state(state: &State, version: Version) -> i32 {
    match state {
        State::Pending => 7,
        State::Running => 1,
        State::Finished(_) => 2,
        State::TimedOut if version >= Version::TIMED_OUT => 8,
        State::Canceled | State::TimedOut => 3,
        State::Failed(_) => 5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_never_raised() {
        // hs2#14
        for offered in 0..=10 {
            assert_eq!(i64::from(Version::agreed(Some(offered)).number()), offered);
        }
        let cases = [(Some(11), 10), (Some(0xA5_01), 10), (Some(-3), 0), (None, 9)];
        for (offered, agreed) in cases {
            assert_eq!(Version::agreed(offered).number(), agreed);
        }
    }

    #[test]
    fn old_clients_hear_of_a_timeout_as_a_cancel() {
        // hs2#42
        assert_eq!(state(&State::TimedOut, Version::of(8)), 8);
        assert_eq!(state(&State::TimedOut, Version::of(7)), 3);
    }
}
