//! A walker over the top-level fields of a serialized protobuf message, and appending to one.
//!
//! Berth reads of a request only what it must and never decodes a plan: a walk borrows, copies nothing and does not
//! recurse. To change a singular field, the field is appended again: by protobuf's rule the last one wins.
//! Source of the encoding: the protobuf encoding guide.

/// A field's value as it is on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// Wire type 0: integers, booleans, enums.
    Varint(u64),
    /// Wire type 1.
    Fixed64(u64),
    /// Wire type 2: strings, bytes, messages, packed repeated fields.
    Bytes(&'a [u8]),
    /// Wire type 5.
    Fixed32(u32),
}

/// One field of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// The field number, never 0.
    pub number: u32,
    /// The value.
    pub value: Value<'a>,
}

/// Why bytes are not a protobuf message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The message ends inside a field.
    #[error("protobuf message ends inside a field")]
    Truncated,
    /// A varint is longer than ten bytes.
    #[error("protobuf varint is longer than ten bytes")]
    Varint,
    /// A tag has number 0, a number out of range, or a wire type that is not in use.
    #[error("protobuf tag {0} is not valid")]
    Tag(u64),
    /// Messages are nested deeper than Spark itself accepts.
    #[error("protobuf messages are nested more than {0} deep")]
    Depth(usize),
}

/// Walks the fields of `message` in order. After an error the walk ends.
pub fn fields(message: &[u8]) -> Fields<'_> {
    Fields { rest: message }
}

/// The iterator of [`fields`].
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.read();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

impl<'a> Fields<'a> {
    fn read(&mut self) -> Result<Field<'a>, WireError> {
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).map_err(|source| {
            let _: std::num::TryFromIntError = source;
            WireError::Tag(tag)
        })?;
        if number == 0 || number > MAX_FIELD_NUMBER {
            return Err(WireError::Tag(tag));
        }
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let len = usize::try_from(self.varint()?).unwrap_or(usize::MAX);
                Value::Bytes(self.take(len)?)
            }
            5 => Value::Fixed32(u32::from_le_bytes(self.array()?)),
            _ => return Err(WireError::Tag(tag)),
        };
        Ok(Field { number, value })
    }

    fn varint(&mut self) -> Result<u64, WireError> {
        let mut value = 0u64;
        for (position, byte) in self.rest.iter().enumerate().take(10) {
            value |= u64::from(byte & 0x7f) << (7 * position);
            if byte & 0x80 == 0 {
                self.rest = &self.rest[position + 1..];
                return Ok(value);
            }
        }
        Err(if self.rest.len() < 10 {
            WireError::Truncated
        } else {
            WireError::Varint
        })
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], WireError> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(WireError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(WireError::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }
}

/// Largest field number of protobuf.
const MAX_FIELD_NUMBER: u32 = (1 << 29) - 1;

/// The last length-delimited field with this number; it is the one that counts.
///
/// # Errors
/// [`WireError`] when `message` is not protobuf.
pub fn last_bytes(message: &[u8], number: u32) -> Result<Option<&[u8]>, WireError> {
    let mut found = None;
    for field in fields(message) {
        let field = field?;
        if let Value::Bytes(bytes) = field.value
            && field.number == number
        {
            found = Some(bytes);
        }
    }
    Ok(found)
}

/// The last length-delimited field with this number, as text; bytes that are not UTF-8 are replaced.
///
/// # Errors
/// [`WireError`] when `message` is not protobuf.
pub fn last_text(message: &[u8], number: u32) -> Result<Option<String>, WireError> {
    Ok(last_bytes(message, number)?.map(|bytes| String::from_utf8_lossy(bytes).into_owned()))
}

/// Every length-delimited field with this number, in order.
///
/// # Errors
/// [`WireError`] when `message` is not protobuf.
pub fn all_bytes(message: &[u8], number: u32) -> Result<Vec<&[u8]>, WireError> {
    let mut found = Vec::new();
    for field in fields(message) {
        let field = field?;
        if let Value::Bytes(bytes) = field.value
            && field.number == number
        {
            found.push(bytes);
        }
    }
    Ok(found)
}

/// The last varint field with this number.
///
/// # Errors
/// [`WireError`] when `message` is not protobuf.
pub fn last_varint(message: &[u8], number: u32) -> Result<Option<u64>, WireError> {
    let mut found = None;
    for field in fields(message) {
        let field = field?;
        if let Value::Varint(value) = field.value
            && field.number == number
        {
            found = Some(value);
        }
    }
    Ok(found)
}

/// Appends a varint without a tag.
fn append_raw_varint(message: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        message.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    message.push((value & 0x7f) as u8);
}

/// Appends a length-delimited field.
pub fn append_bytes(message: &mut Vec<u8>, number: u32, value: &[u8]) {
    append_raw_varint(message, u64::from(number) << 3 | 2);
    append_raw_varint(message, value.len() as u64);
    message.extend_from_slice(value);
}

/// Appends a text field.
pub fn append_string(message: &mut Vec<u8>, number: u32, value: &str) {
    append_bytes(message, number, value.as_bytes());
}

/// Appends an integer, boolean or enum field.
pub fn append_varint(message: &mut Vec<u8>, number: u32, value: u64) {
    append_raw_varint(message, u64::from(number) << 3);
    append_raw_varint(message, value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic_and_the_walk_ends(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(fields(&bytes).count() <= bytes.len());
        }

        #[test]
        fn the_last_of_several_appended_values_is_read(
            number in 1u32..=MAX_FIELD_NUMBER, first in ".{0,40}", last in ".{0,40}", integer in any::<u64>(),
        ) {
            let mut message = Vec::new();
            append_string(&mut message, number, &first);
            append_varint(&mut message, number, integer);
            append_string(&mut message, number, &last);
            prop_assert_eq!(last_text(&message, number).unwrap(), Some(last));
            prop_assert_eq!(last_varint(&message, number).unwrap(), Some(integer));
            prop_assert_eq!(all_bytes(&message, number).unwrap().len(), 2);
        }

        #[test]
        fn a_cut_message_is_an_error_and_not_a_shorter_value(value in ".{1,40}", cut in 1usize..40) {
            let mut message = Vec::new();
            append_string(&mut message, 3, &value);
            let keep = message.len().saturating_sub(cut).max(1);
            message.truncate(keep);
            prop_assert_eq!(last_bytes(&message, 3), Err(WireError::Truncated));
        }
    }

    #[test]
    fn damaged_tags_and_varints_are_named() {
        assert_eq!(last_bytes(&[0x00], 1), Err(WireError::Tag(0)));
        assert_eq!(last_bytes(&[0x0b], 1), Err(WireError::Tag(0x0b)));
        assert_eq!(last_bytes(&[0xff; 12], 1), Err(WireError::Varint));
        assert_eq!(last_bytes(&[0x09, 1, 2], 1), Err(WireError::Truncated));
    }
}
