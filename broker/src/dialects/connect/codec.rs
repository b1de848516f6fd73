//! A gRPC codec that leaves messages as the bytes they are.

use bytes::{Buf, BufMut, Bytes};
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

/// What Spark accepts in one message, and its clients too.
pub(crate) const MAX_MESSAGE_BYTES: usize = 128 << 20;

/// Room for what Berth appends to a message that was at the limit already.
pub(crate) const HEADROOM_BYTES: usize = 64 << 10;

/// A message to send: what came, and the fields that Berth appends to it. The last occurrence of a singular field
/// wins by protobuf's own rule, so the body of a 100 MiB message is neither decoded nor copied for a new id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Message {
    /// The message as it came.
    pub(crate) body: Bytes,
    /// The appended fields.
    pub(crate) tail: Bytes,
}

impl Message {
    /// Length on the wire, in bytes.
    pub(crate) fn len(&self) -> usize {
        self.body.len() + self.tail.len()
    }

    /// Both parts in one buffer.
    #[cfg(test)]
    pub(crate) fn to_bytes(&self) -> Bytes {
        if self.tail.is_empty() {
            return self.body.clone();
        }
        [self.body.as_ref(), self.tail.as_ref()].concat().into()
    }
}

impl From<Bytes> for Message {
    fn from(body: Bytes) -> Self {
        Self {
            body,
            tail: Bytes::new(),
        }
    }
}

/// Takes messages in as [`Bytes`] and sends them out as [`Message`].
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct RawCodec;

/// The encoding half of [`RawCodec`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct RawEncoder;

/// The decoding half of [`RawCodec`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct RawDecoder;

impl Codec for RawCodec {
    type Encode = Message;
    type Decode = Bytes;
    type Encoder = RawEncoder;
    type Decoder = RawDecoder;

    fn encoder(&mut self) -> RawEncoder {
        RawEncoder
    }

    fn decoder(&mut self) -> RawDecoder {
        RawDecoder
    }
}

// Most messages of the service are a few hundred bytes, so the start is small; results come in pieces of 160 kB,
// so several of them are worth one write.
fn settings() -> BufferSettings {
    BufferSettings::new(4 << 10, 64 << 10)
}

impl Encoder for RawEncoder {
    type Item = Message;
    type Error = Status;

    fn encode(&mut self, item: Message, dst: &mut EncodeBuf<'_>) -> Result<(), Status> {
        dst.reserve(item.len());
        dst.put(item.body);
        dst.put(item.tail);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        settings()
    }
}

impl Decoder for RawDecoder {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, src: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(src.copy_to_bytes(src.remaining())))
    }

    fn buffer_settings(&self) -> BufferSettings {
        settings()
    }
}
