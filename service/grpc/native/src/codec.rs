//! Length-prefixed messages in DATA frames. A message's bytes are bounded before memory is taken for them.

use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use h2::RecvStream;

use crate::compression::{Encoding, compress, decompress};
use crate::status::{Code, Status};

/// Compressed flag and length.
const PREFIX_BYTES: usize = 5;
/// Memory that is taken for a message before that much of it has come.
const FIRST_CAPACITY: usize = 1 << 16;

/// A message as it came.
#[derive(Debug)]
pub struct Message {
    bytes: Bytes,
    compression: Option<Encoding>,
    limit: usize,
}

impl Message {
    /// Returns the message, decompressed if need be.
    pub fn bytes(&self) -> Result<Bytes, Status> {
        match self.compression {
            None => Ok(self.bytes.clone()),
            Some(encoding) => decompress(encoding, &self.bytes, self.limit).map(Bytes::from),
        }
    }
}

/// Why there is no further message.
#[derive(Debug)]
pub enum ReadError {
    /// The client has cancelled the call, or the connection has gone.
    Gone,
    /// The client sent what ends the call.
    Bad(Status),
}

/// Reads the messages of one request.
pub struct Messages {
    stream: RecvStream,
    frame: Bytes,
    partial: BytesMut,
    encoding: Encoding,
    limit: usize,
}

impl Messages {
    pub fn new(stream: RecvStream, encoding: Encoding, limit: usize) -> Self {
        Self { stream, frame: Bytes::new(), partial: BytesMut::new(), encoding, limit }
    }

    /// Returns the next message, or None at the end of the request. A call that is dropped loses nothing.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Message>, ReadError>> {
        loop {
            match self.take_message() {
                Ok(None) => {}
                Ok(message) => return Poll::Ready(Ok(message)),
                Err(status) => return Poll::Ready(Err(ReadError::Bad(status))),
            }
            match ready!(self.stream.poll_data(context)) {
                Some(Ok(frame)) => {
                    // The window opens as frames are read: what is held is bounded by the message's limit.
                    let released = self.stream.flow_control().release_capacity(frame.len());
                    if released.is_err() {
                        return Poll::Ready(Err(ReadError::Gone));
                    }
                    if self.partial.is_empty() && self.frame.is_empty() {
                        self.frame = frame;
                    } else {
                        self.gather();
                        self.partial.extend_from_slice(&frame);
                    }
                }
                Some(Err(_)) => return Poll::Ready(Err(ReadError::Gone)),
                None if self.frame.is_empty() && self.partial.is_empty() => return Poll::Ready(Ok(None)),
                None => {
                    let status = Status::new(Code::Internal, "the request ends in the middle of a message");
                    return Poll::Ready(Err(ReadError::Bad(status)));
                }
            }
        }
    }

    /// Moves what is left of a frame to where the frames of one message come together.
    fn gather(&mut self) {
        if !self.frame.is_empty() {
            let frame = std::mem::take(&mut self.frame);
            let wanted = prefix(&frame).map_or(FIRST_CAPACITY, |(_, length)| PREFIX_BYTES + length);
            self.partial.reserve(wanted.min(FIRST_CAPACITY).max(frame.len()));
            self.partial.extend_from_slice(&frame);
        }
    }

    /// Takes a whole message of what has come. Most come in one frame and are not copied.
    fn take_message(&mut self) -> Result<Option<Message>, Status> {
        let come: &[u8] = if self.partial.is_empty() { &self.frame } else { &self.partial };
        let Some((flag, length)) = prefix(come) else { return Ok(None) };
        if length > self.limit {
            let message = format!("a message has {length} bytes; at most {} are allowed", self.limit);
            return Err(Status::new(Code::ResourceExhausted, message));
        }
        let compression = match flag {
            0 => None,
            1 => Some(self.encoding),
            _ => return Err(Status::new(Code::Internal, "a message's compressed flag is neither 0 nor 1")),
        };
        if come.len() < PREFIX_BYTES + length {
            return Ok(None);
        }
        let bytes = if self.partial.is_empty() {
            self.frame.advance(PREFIX_BYTES);
            self.frame.split_to(length)
        } else {
            self.partial.advance(PREFIX_BYTES);
            let bytes = self.partial.split_to(length).freeze();
            self.frame = self.partial.split().freeze();
            bytes
        };
        Ok(Some(Message { bytes, compression, limit: self.limit }))
    }
}

/// Reads a message's compressed flag and length.
fn prefix(come: &[u8]) -> Option<(u8, usize)> {
    let (prefix, _) = come.split_at_checked(PREFIX_BYTES)?;
    Some((prefix[0], u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize))
}

/// Writes a message behind its prefix.
pub fn encode(message: &[u8], encoding: Encoding) -> Bytes {
    let mut buffer = Vec::with_capacity(PREFIX_BYTES + message.len());
    buffer.extend_from_slice(&[0; PREFIX_BYTES]);
    buffer[0] = u8::from(encoding != Encoding::Identity);
    finish_prefix(compress(encoding, message, buffer))
}

/// Writes a message that `write` appends to the buffer, without a copy.
pub fn encode_with(capacity: usize, write: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    let mut buffer = Vec::with_capacity(PREFIX_BYTES + capacity);
    buffer.extend_from_slice(&[0; PREFIX_BYTES]);
    write(&mut buffer);
    finish_prefix(buffer)
}

fn finish_prefix(mut buffer: Vec<u8>) -> Bytes {
    let length = u32::try_from(buffer.len() - PREFIX_BYTES).expect("a message is shorter than 4 GiB");
    buffer[1..PREFIX_BYTES].copy_from_slice(&length.to_be_bytes());
    buffer.into()
}
