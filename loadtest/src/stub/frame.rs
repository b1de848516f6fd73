//! gRPC's framing over HTTP/2.

use std::convert::Infallible;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures_util::stream::{self, Stream, StreamExt};
use http::{HeaderMap, HeaderValue};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use prost::Message;
use tonic::{Code, Status};

/// A response's body.
pub(super) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Length of what stands before each message: one flag and a length.
pub(super) const PREFIX_BYTES: usize = 5;

/// The first message of a request's body; `None` when it is cut short or compressed.
pub(super) fn first_message(mut body: Bytes) -> Option<Bytes> {
    if body.len() < PREFIX_BYTES || body.get_u8() != 0 {
        return None;
    }
    let length = usize::try_from(body.get_u32()).ok()?;
    (body.len() >= length).then(|| body.split_to(length))
}

fn framed(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut buffer = BytesMut::with_capacity(PREFIX_BYTES + length);
    buffer.put_u8(0);
    // Messages are bounded by the stub's flags, far below 4 GiB; a larger one would be cut off by its client.
    buffer.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    message.encode_raw(&mut buffer);
    buffer.freeze()
}

fn response(body: Body) -> http::Response<Body> {
    let mut response = http::Response::new(body);
    let grpc = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(http::header::CONTENT_TYPE, grpc);
    response
}

/// A response with these messages and status OK.
pub(super) fn messages<M: Message + 'static>(
    answers: impl Stream<Item = M> + Send + 'static,
) -> http::Response<Body> {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let frames = answers.map(|answer| Ok(Frame::data(framed(&answer))));
    let end = stream::iter([Ok(Frame::trailers(trailers))]);
    response(StreamBody::new(frames.chain(end)).boxed_unsync())
}

/// A response with one message.
pub(super) fn message<M: Message + 'static>(answer: M) -> http::Response<Body> {
    messages(stream::iter([answer]))
}

/// A response with an error and no message.
pub(super) fn failure(code: Code, text: &str) -> http::Response<Body> {
    let status = Status::new(code, text);
    let mut response = response(http_body_util::Empty::new().boxed_unsync());
    if let Err(error) = status.add_header(response.headers_mut()) {
        response
            .headers_mut()
            .insert("grpc-status", HeaderValue::from(error.code() as i32));
    }
    response
}
