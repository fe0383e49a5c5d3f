//! Length-prefixed messages in DATA frames. A message's size is checked before memory is allocated for it.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use h2::RecvStream;

use crate::budget::{Charge, Holder};
use crate::compression::{Encoding, compress, decompress};
use crate::status::{Code, Status};

/// Compressed flag and length.
const PREFIX_BYTES: usize = 5;
/// Maximum memory that is allocated for a message before its bytes arrive.
const FIRST_CAPACITY: usize = 1 << 17;

/// A message as it was received.
pub struct Message {
    bytes: Bytes,
    compression: Option<Encoding>,
    limit: usize,
    /// The memory it holds, if it came in several frames.
    _charge: Charge,
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
    /// The client sent something invalid or too large.
    Bad(Status),
}

/// Reads the messages of one request.
pub struct Messages {
    stream: RecvStream,
    assembler: Assembler,
}

impl Messages {
    pub fn new(stream: RecvStream, encoding: Encoding, limit: usize, holder: &Arc<Holder>) -> Self {
        Self { stream, assembler: Assembler::new(encoding, limit, holder) }
    }

    /// Returns the next message, or None at the end of the request. Cancel-safe.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Message>, ReadError>> {
        self.poll_next_admitted(context, |_, _| Ok(()))
    }

    /// Returns the next message as `poll_next` does, if it is admitted while it is incomplete.
    ///
    /// # Arguments
    /// * `admit` - Admits or refuses a message of this length, of which this part has been received. A message that is
    ///   compressed is admitted.
    pub fn poll_next_admitted(
        &mut self,
        context: &mut Context<'_>,
        mut admit: impl FnMut(usize, &[u8]) -> Result<(), Status>,
    ) -> Poll<Result<Option<Message>, ReadError>> {
        loop {
            match self.assembler.take() {
                Ok(None) => {}
                Ok(message) => return Poll::Ready(Ok(message)),
                Err(status) => return Poll::Ready(Err(ReadError::Bad(status))),
            }
            if let Some((length, part)) = self.assembler.beginning() {
                admit(length, part).map_err(ReadError::Bad)?;
            }
            match ready!(self.stream.poll_data(context)) {
                Some(Ok(frame)) => {
                    // The window opens as frames are read: the budget and the message's limit bound the memory.
                    if self.stream.flow_control().release_capacity(frame.len()).is_err() {
                        return Poll::Ready(Err(ReadError::Gone));
                    }
                    if let Err(status) = self.assembler.push(frame) {
                        return Poll::Ready(Err(ReadError::Bad(status)));
                    }
                }
                Some(Err(_)) => return Poll::Ready(Err(ReadError::Gone)),
                None if self.assembler.is_empty() => return Poll::Ready(Ok(None)),
                None => {
                    let status = Status::new(Code::Internal, "the request ends in the middle of a message");
                    return Poll::Ready(Err(ReadError::Bad(status)));
                }
            }
        }
    }
}

/// Assembles messages from DATA frames.
pub struct Assembler {
    /// The unread rest of the last frame.
    frame: Bytes,
    /// The bytes of a message that spans several frames.
    partial: BytesMut,
    charge: Charge,
    encoding: Encoding,
    limit: usize,
}

impl Assembler {
    pub fn new(encoding: Encoding, limit: usize, holder: &Arc<Holder>) -> Self {
        Self { frame: Bytes::new(), partial: BytesMut::new(), charge: Charge::none(holder), encoding, limit }
    }

    pub fn is_empty(&self) -> bool {
        self.frame.is_empty() && self.partial.is_empty()
    }

    pub fn push(&mut self, frame: Bytes) -> Result<(), Status> {
        if self.is_empty() {
            self.frame = frame;
            return Ok(());
        }
        if !self.charge.add(self.frame.len() + frame.len()) {
            return Err(Status::new(
                Code::ResourceExhausted,
                "the server holds too many large messages, try again later",
            ));
        }
        if !self.frame.is_empty() {
            let wanted = prefix(&self.frame).map_or(FIRST_CAPACITY, |(_, length)| PREFIX_BYTES + length);
            self.partial.reserve(wanted.min(FIRST_CAPACITY).max(self.frame.len()));
            self.partial.extend_from_slice(&std::mem::take(&mut self.frame));
        }
        self.partial.extend_from_slice(&frame);
        Ok(())
    }

    fn received(&self) -> &[u8] {
        if self.partial.is_empty() { &self.frame } else { &self.partial }
    }

    /// Returns the length of an incomplete message, and the part that has been received; None: it is compressed.
    fn beginning(&self) -> Option<(usize, &[u8])> {
        let (flag, length) = prefix(self.received())?;
        (flag == 0).then(|| (length, &self.received()[PREFIX_BYTES..]))
    }

    /// Takes the next complete message. Most arrive in one frame and are not copied.
    pub fn take(&mut self) -> Result<Option<Message>, Status> {
        let received = self.received();
        let Some((flag, length)) = prefix(received) else { return Ok(None) };
        if length > self.limit {
            // As gRPC's core says it.
            let message = format!("SERVER: Received message larger than max ({length} vs. {})", self.limit);
            return Err(Status::new(Code::ResourceExhausted, message));
        }
        let compression = match flag {
            0 => None,
            1 => Some(self.encoding),
            _ => return Err(Status::new(Code::Internal, "a message's compressed flag is neither 0 nor 1")),
        };
        if received.len() < PREFIX_BYTES + length {
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
        Ok(Some(Message { bytes, compression, limit: self.limit, _charge: self.charge.take() }))
    }
}

/// Reads a message's compressed flag and length.
fn prefix(received: &[u8]) -> Option<(u8, usize)> {
    let (prefix, _) = received.split_at_checked(PREFIX_BYTES)?;
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
    buffer.into_boxed_slice().into() // without spare capacity: what waits for its client counts by its length
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::Budget;

    const LIMIT: usize = 1000;

    fn assembler(budget: usize) -> Assembler {
        Assembler::new(Encoding::Gzip, LIMIT, &Holder::new(&Budget::new(budget), None))
    }

    /// Gives frames of so many bytes, and returns the messages, or the first error.
    fn assembled(assembler: &mut Assembler, bytes: &[u8], frame: usize) -> Result<Vec<Vec<u8>>, Status> {
        let mut messages = Vec::new();
        for frame in bytes.chunks(frame) {
            assembler.push(Bytes::copy_from_slice(frame))?;
            while let Some(message) = assembler.take()? {
                messages.push(message.bytes()?.to_vec());
            }
        }
        Ok(messages)
    }

    #[test]
    fn messages_are_the_same_however_their_frames_are_cut() {
        let texts = [&b"film"[..], b"", &[7; 300], b"x"];
        let bytes: Vec<u8> = texts
            .iter()
            .zip([Encoding::Identity, Encoding::Gzip].iter().cycle())
            .flat_map(|(text, encoding)| encode(text, *encoding))
            .collect();
        for frame in 1..=bytes.len() {
            let mut assembler = assembler(LIMIT * 10);
            assert_eq!(assembled(&mut assembler, &bytes, frame).unwrap(), texts, "{frame}");
            assert!(assembler.is_empty());
        }
    }

    #[test]
    fn a_message_over_the_limit_is_refused_by_its_prefix() {
        let largest = encode(&[0; LIMIT], Encoding::Identity);
        assert_eq!(assembled(&mut assembler(LIMIT), &largest, largest.len()).unwrap(), [[0; LIMIT]]);
        let prefix = encode(&[0; LIMIT + 1], Encoding::Identity).slice(..PREFIX_BYTES);
        let refused = assembled(&mut assembler(LIMIT), &prefix, 5).unwrap_err();
        assert_eq!(refused.code, Code::ResourceExhausted as u32);
    }

    #[test]
    fn what_comes_in_part_is_held_within_the_budget() {
        let bytes = encode(&[0; 900], Encoding::Identity);
        let budget = (bytes.len() * 3).div_ceil(2); // of which a connection may hold two thirds
        assert!(assembled(&mut assembler(budget), &bytes, 100).is_ok());
        let refused = assembled(&mut assembler(budget - 1), &bytes, 100).unwrap_err();
        assert_eq!(refused.code, Code::ResourceExhausted as u32);
    }
}
