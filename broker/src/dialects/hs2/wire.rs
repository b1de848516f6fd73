//! Thrift's binary protocol: a message of bytes in, a message of bytes out.
//!
//! Reading borrows from the bytes and makes a tree of fields by number, so that fields that nobody knows are skipped
//! by not being looked up. Writing appends to a buffer. Both are a page, where generated code for this service is
//! twenty thousand lines and needs a runtime that reads from blocking streams.

/// Types of fields.
pub(crate) mod kind {
    pub(crate) const BOOL: u8 = 2;
    pub(crate) const BYTE: u8 = 3;
    pub(crate) const DOUBLE: u8 = 4;
    pub(crate) const I16: u8 = 6;
    pub(crate) const I32: u8 = 8;
    pub(crate) const I64: u8 = 10;
    pub(crate) const TEXT: u8 = 11;
    pub(crate) const STRUCT: u8 = 12;
    pub(crate) const MAP: u8 = 13;
    pub(crate) const SET: u8 = 14;
    pub(crate) const LIST: u8 = 15;
}

/// Kinds of messages.
pub(crate) const CALL: u8 = 1;
const REPLY: u8 = 2;
const EXCEPTION: u8 = 3;
const ONEWAY: u8 = 4;

const VERSION: u32 = 0x8001_0000;
/// Structs within structs. The service needs four.
const MAX_DEPTH: usize = 32;
/// Values in one message. A call has a few dozen; confs are two each. What comes in many pieces is read as often.
const MAX_VALUES: usize = 10_000;
/// Longest name of a method.
const MAX_NAME_BYTES: usize = 256;

/// Why bytes are not a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    /// It has at least so many bytes, and more may follow.
    #[error("the message ends early")]
    Short(usize),
    /// It never will be one.
    #[error("not a Thrift message: {0}")]
    Broken(&'static str),
}

/// A value as it came.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value<'a> {
    /// A bool, or an integer of any width.
    Number(i64),
    /// A floating-point number; no call of the service has one.
    Double,
    /// Text or bytes.
    Bytes(&'a [u8]),
    /// A struct.
    Struct(Fields<'a>),
    /// A list or a set.
    List(Vec<Value<'a>>),
    /// A map.
    Map(Vec<(Value<'a>, Value<'a>)>),
}

/// The fields of a struct.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Fields<'a>(Vec<(i16, Value<'a>)>);

/// A call.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Message<'a> {
    /// The method.
    pub(crate) name: &'a str,
    /// The client's number for it, to be sent back.
    pub(crate) sequence: i32,
    /// Its arguments.
    pub(crate) arguments: Fields<'a>,
    /// Bytes that it took.
    pub(crate) length: usize,
}

impl<'a> Fields<'a> {
    fn get(&self, number: i16) -> Option<&Value<'a>> {
        let found = self.0.iter().rev().find(|(id, _)| *id == number);
        found.map(|(_, value)| value)
    }

    /// A struct.
    pub(crate) fn fields(&self, number: i16) -> Option<&Fields<'a>> {
        match self.get(number)? {
            Value::Struct(fields) => Some(fields),
            _ => None,
        }
    }

    /// Bytes.
    pub(crate) fn bytes(&self, number: i16) -> Option<&'a [u8]> {
        match self.get(number)? {
            Value::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// Text; what is no UTF-8 in it is replaced.
    pub(crate) fn text(&self, number: i16) -> Option<String> {
        Some(String::from_utf8_lossy(self.bytes(number)?).into_owned())
    }

    /// An integer.
    pub(crate) fn number(&self, number: i16) -> Option<i64> {
        match self.get(number)? {
            Value::Number(value) => Some(*value),
            _ => None,
        }
    }

    /// A flag; false where there is none.
    pub(crate) fn flag(&self, number: i16) -> bool {
        self.number(number).is_some_and(|value| value != 0)
    }

    /// A list of texts.
    pub(crate) fn texts(&self, number: i16) -> Option<Vec<String>> {
        let Value::List(items) = self.get(number)? else {
            return None;
        };
        let texts = items.iter().filter_map(Value::as_text);
        Some(texts.collect())
    }

    /// A map of texts.
    pub(crate) fn pairs(&self, number: i16) -> Vec<(String, String)> {
        let Some(Value::Map(pairs)) = self.get(number) else {
            return Vec::new();
        };
        let pairs = pairs.iter();
        pairs
            .filter_map(|(key, value)| Some((key.as_text()?, value.as_text()?)))
            .collect()
    }
}

impl Value<'_> {
    fn as_text(&self) -> Option<String> {
        match self {
            Self::Bytes(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
            _ => None,
        }
    }
}

/// Reads the call at the start of `bytes`, in the strict form or in the old one.
///
/// # Errors
/// [`Fault`].
pub(crate) fn read(bytes: &[u8]) -> Result<Message<'_>, Fault> {
    let mut reader = Reader {
        bytes,
        at: 0,
        values: 0,
    };
    let head = u32::from_be_bytes(reader.array()?);
    let (name, kind) = if head & 0x8000_0000 == 0 {
        // The old form has the length of the name here, and the kind behind it.
        let name = reader.name(head)?;
        (name, reader.byte()?)
    } else if head & 0xffff_0000 == VERSION {
        let length = u32::from_be_bytes(reader.array()?);
        (reader.name(length)?, head.to_be_bytes()[3])
    } else {
        return Err(Fault::Broken("it begins with another version"));
    };
    if kind != CALL && kind != ONEWAY {
        return Err(Fault::Broken("it is no call"));
    }
    let sequence = i32::from_be_bytes(reader.array()?);
    let arguments = reader.fields(0)?;
    Ok(Message {
        name,
        sequence,
        arguments,
        length: reader.at,
    })
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    values: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Fault> {
        let end = self.at.saturating_add(length);
        let taken = self.bytes.get(self.at..end).ok_or(Fault::Short(end))?;
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let taken = self.take(N)?;
        // It has this length.
        Ok(taken.first_chunk().copied().unwrap_or([0; N]))
    }

    fn byte(&mut self) -> Result<u8, Fault> {
        Ok(self.array::<1>()?[0])
    }

    fn size(&mut self) -> Result<usize, Fault> {
        let size = i32::from_be_bytes(self.array()?);
        let wrong = |_negative: std::num::TryFromIntError| Fault::Broken("a size is negative");
        usize::try_from(size).map_err(wrong)
    }

    fn name(&mut self, length: u32) -> Result<&'a str, Fault> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > MAX_NAME_BYTES {
            return Err(Fault::Broken("the name of its method is too long"));
        }
        let wrong = |_error: std::str::Utf8Error| Fault::Broken("the name of its method is no text");
        std::str::from_utf8(self.take(length)?).map_err(wrong)
    }

    fn fields(&mut self, depth: usize) -> Result<Fields<'a>, Fault> {
        let mut fields = Vec::new();
        loop {
            let kind = self.byte()?;
            if kind == 0 {
                return Ok(Fields(fields));
            }
            let id = i16::from_be_bytes(self.array()?);
            fields.push((id, self.value(kind, depth)?));
        }
    }

    fn value(&mut self, kind: u8, depth: usize) -> Result<Value<'a>, Fault> {
        self.values += 1;
        if depth > MAX_DEPTH || self.values > MAX_VALUES {
            return Err(Fault::Broken("it has too many values"));
        }
        Ok(match kind {
            kind::BOOL | kind::BYTE => Value::Number(self.byte()?.cast_signed().into()),
            kind::I16 => Value::Number(i16::from_be_bytes(self.array()?).into()),
            kind::I32 => Value::Number(i32::from_be_bytes(self.array()?).into()),
            kind::I64 => Value::Number(i64::from_be_bytes(self.array()?)),
            kind::DOUBLE => {
                self.take(8)?;
                Value::Double
            }
            kind::TEXT => {
                let size = self.size()?;
                Value::Bytes(self.take(size)?)
            }
            kind::STRUCT => Value::Struct(self.fields(depth + 1)?),
            kind::LIST | kind::SET => {
                let item = self.byte()?;
                let size = self.size()?;
                let items = (0..size).map(|_| self.value(item, depth + 1));
                Value::List(items.collect::<Result<_, _>>()?)
            }
            kind::MAP => {
                let (key, value) = (self.byte()?, self.byte()?);
                let size = self.size()?;
                let pairs =
                    (0..size).map(|_| Ok((self.value(key, depth + 1)?, self.value(value, depth + 1)?)));
                Value::Map(pairs.collect::<Result<_, _>>()?)
            }
            _ => return Err(Fault::Broken("a field has a type that is none")),
        })
    }
}

/// What is wrong with a call, in Thrift's own numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exception {
    /// There is no such method.
    UnknownMethod = 1,
    /// Something on this side.
    Internal = 6,
    /// An argument is missing.
    ProtocolError = 7,
}

/// A message that is being written.
#[derive(Debug, Default)]
pub(crate) struct Out(Vec<u8>);

/// The answer to a call: the field `success`, filled by `write`.
pub(crate) fn reply(call: &Message<'_>, write: impl FnOnce(&mut Out)) -> Vec<u8> {
    let mut out = Out::default();
    out.head(REPLY, call);
    out.fields(0, write);
    out.stop();
    out.0
}

/// The answer to a call that is none of the service.
pub(crate) fn exception(call: &Message<'_>, exception: Exception, text: &str) -> Vec<u8> {
    let mut out = Out::default();
    out.head(EXCEPTION, call);
    out.text(1, text);
    out.int(2, exception as i32);
    out.stop();
    out.0
}

impl Out {
    fn head(&mut self, kind: u8, call: &Message<'_>) {
        self.raw_i32((VERSION | u32::from(kind)).cast_signed());
        self.raw_bytes(call.name.as_bytes());
        self.raw_i32(call.sequence);
    }

    /// The head of a field, whose value must follow.
    pub(crate) fn field(&mut self, kind: u8, number: i16) {
        self.0.push(kind);
        self.0.extend_from_slice(&number.to_be_bytes());
    }

    /// The end of a struct.
    pub(crate) fn stop(&mut self) {
        self.0.push(0);
    }

    /// A struct in a field.
    pub(crate) fn fields(&mut self, number: i16, write: impl FnOnce(&mut Self)) {
        self.field(kind::STRUCT, number);
        write(self);
        self.stop();
    }

    /// The head of a list in a field, whose items must follow.
    pub(crate) fn list(&mut self, number: i16, item: u8, length: usize) {
        self.field(kind::LIST, number);
        self.raw_list(item, length);
    }

    /// The head of a list, whose items must follow.
    pub(crate) fn raw_list(&mut self, item: u8, length: usize) {
        self.0.push(item);
        self.raw_size(length);
    }

    /// A map of texts in a field.
    pub(crate) fn pairs(&mut self, number: i16, pairs: &[(&str, String)]) {
        self.field(kind::MAP, number);
        self.0.extend_from_slice(&[kind::TEXT, kind::TEXT]);
        self.raw_size(pairs.len());
        for (key, value) in pairs {
            self.raw_bytes(key.as_bytes());
            self.raw_bytes(value.as_bytes());
        }
    }

    /// Text in a field.
    pub(crate) fn text(&mut self, number: i16, text: &str) {
        self.bytes(number, text.as_bytes());
    }

    /// Bytes in a field.
    pub(crate) fn bytes(&mut self, number: i16, bytes: &[u8]) {
        self.field(kind::TEXT, number);
        self.raw_bytes(bytes);
    }

    /// A flag in a field.
    pub(crate) fn flag(&mut self, number: i16, flag: bool) {
        self.field(kind::BOOL, number);
        self.0.push(u8::from(flag));
    }

    /// A number in a field, 32 bits.
    pub(crate) fn int(&mut self, number: i16, value: i32) {
        self.field(kind::I32, number);
        self.raw_i32(value);
    }

    /// A number in a field, 64 bits.
    pub(crate) fn long(&mut self, number: i16, value: i64) {
        self.field(kind::I64, number);
        self.raw(&value.to_be_bytes());
    }

    /// A number with a fraction in a field.
    pub(crate) fn double(&mut self, number: i16, value: f64) {
        self.field(kind::DOUBLE, number);
        self.raw(&value.to_be_bytes());
    }

    /// Bytes as they are.
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Bytes with their length before them.
    pub(crate) fn raw_bytes(&mut self, bytes: &[u8]) {
        self.raw_size(bytes.len());
        self.0.extend_from_slice(bytes);
    }

    /// A number, 32 bits.
    pub(crate) fn raw_i32(&mut self, value: i32) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    fn raw_size(&mut self, size: usize) {
        // Pages are bounded far below this.
        self.raw_i32(i32::try_from(size).unwrap_or(i32::MAX));
    }

    /// Lets `write` append text and sets its length before it.
    pub(crate) fn raw_text(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.0.len();
        self.raw_i32(0);
        write(&mut self.0);
        let length = i32::try_from(self.0.len() - start - 4).unwrap_or(i32::MAX);
        self.0[start..start + 4].copy_from_slice(&length.to_be_bytes());
    }
}

#[cfg(test)]
pub(super) mod tests;
