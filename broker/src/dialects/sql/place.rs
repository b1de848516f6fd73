//! Which broker an operation runs at: its id begins with a few bytes that stand for the broker.
//!
//! So a broker that is asked about an operation of another knows whom to ask, and nothing has to be written down.

use berth_core::ids::BrokerId;
use uuid::Uuid;

/// Bytes of an operation's id that tell its broker. The rest of them are random.
const BYTES: usize = 6;

/// What the ids of a broker's operations begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place([u8; BYTES]);

impl Place {
    /// The place of a broker.
    pub(crate) fn of_broker(broker: &BrokerId) -> Self {
        Self::of_operation(Uuid::new_v5(&Uuid::NAMESPACE_OID, broker.as_str().as_bytes()))
    }

    /// The place of an operation.
    pub(crate) fn of_operation(id: Uuid) -> Self {
        let mut bytes = [0; BYTES];
        bytes.copy_from_slice(&id.as_bytes()[..BYTES]);
        Self(bytes)
    }

    /// An id for an operation that begins here.
    pub(crate) fn new_operation(self) -> Uuid {
        let mut bytes = Uuid::new_v4().into_bytes();
        bytes[..BYTES].copy_from_slice(&self.0);
        Uuid::from_bytes(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i4_an_operation_tells_its_broker() {
        let (one, other): (BrokerId, BrokerId) = ("broker-1".parse().unwrap(), "broker-2".parse().unwrap());
        let place = Place::of_broker(&one);
        let id = place.new_operation();
        assert_eq!(Place::of_operation(id), place);
        assert_ne!(place, Place::of_broker(&other));
        assert_eq!(id.get_version_num(), 4);
        assert_ne!(place.new_operation(), id);
    }
}
