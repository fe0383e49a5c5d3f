//! Protobuf's wire format: protobuf.dev/programming-guides/encoding.

/// Bytes of the longest number, and of the longest key and length.
const MAX_VARINT_BYTES: usize = 10;
const MAX_SHORT_VARINT_BYTES: usize = 5;

/// A field's value as it is on the wire.
#[derive(Debug, PartialEq)]
pub enum Value<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    Float(f32),
}

/// Reads the fields of a message one after another.
pub struct Fields<'a>(pub &'a [u8]);

impl<'a> Fields<'a> {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads a field's number and value. None: it is malformed, or of a kind that no plain request has.
    pub fn next(&mut self) -> Option<(u32, Value<'a>)> {
        let key = self.short_varint()?;
        let value = match key & 7 {
            0 => Value::Varint(self.varint()?),
            2 => {
                let length = self.short_varint()?;
                let (bytes, rest) = self.0.split_at_checked(length as usize)?;
                self.0 = rest;
                Value::Bytes(bytes)
            }
            5 => {
                let (bytes, rest) = self.0.split_first_chunk()?;
                self.0 = rest;
                Value::Float(f32::from_le_bytes(*bytes))
            }
            _ => return None,
        };
        Some((key >> 3, value)).filter(|(number, _)| *number > 0)
    }

    pub fn varint(&mut self) -> Option<u64> {
        if let [byte @ 0..0x80, rest @ ..] = self.0 {
            self.0 = rest;
            return Some(u64::from(*byte));
        }
        self.long_varint(MAX_VARINT_BYTES)
    }

    /// Reads a key or a length: 32 bits in at most five bytes, as protobuf's own decoders have it.
    fn short_varint(&mut self) -> Option<u32> {
        if let [byte @ 0..0x80, rest @ ..] = self.0 {
            self.0 = rest;
            return Some(u32::from(*byte));
        }
        u32::try_from(self.long_varint(MAX_SHORT_VARINT_BYTES)?).ok()
    }

    fn long_varint(&mut self, max_bytes: usize) -> Option<u64> {
        let mut value = 0;
        for (index, byte) in self.0.iter().enumerate().take(max_bytes) {
            value |= u64::from(byte & 0x7F) << (7 * index);
            if byte & 0x80 == 0 {
                self.0 = &self.0[index + 1..];
                return Some(value);
            }
        }
        None
    }
}

/// Reads a string field's value.
pub fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

pub const VARINT: u32 = 0;
pub const BYTES: u32 = 2;
pub const FIXED32: u32 = 5;

pub fn put_varint(buffer: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        buffer.push(value as u8 | 0x80);
        value >>= 7;
    }
    buffer.push(value as u8);
}

pub fn put_key(buffer: &mut Vec<u8>, number: u32, kind: u32) {
    put_varint(buffer, u64::from(number << 3 | kind));
}

/// Writes a number, unless it is 0.
pub fn put_number(buffer: &mut Vec<u8>, number: u32, value: i64) {
    if value != 0 {
        put_key(buffer, number, VARINT);
        put_varint(buffer, value as u64);
    }
}

/// Writes a float, unless it is 0.
pub fn put_float(buffer: &mut Vec<u8>, number: u32, value: f32) {
    if value.to_bits() != 0 {
        put_key(buffer, number, FIXED32);
        buffer.extend_from_slice(&value.to_le_bytes());
    }
}

/// Writes bytes or text, empty ones too.
pub fn put_bytes(buffer: &mut Vec<u8>, number: u32, value: &[u8]) {
    put_key(buffer, number, BYTES);
    put_varint(buffer, value.len() as u64);
    buffer.extend_from_slice(value);
}

/// Writes text, unless it is empty.
pub fn put_text(buffer: &mut Vec<u8>, number: u32, value: &str) {
    if !value.is_empty() {
        put_bytes(buffer, number, value.as_bytes());
    }
}

/// Writes a message or packed values that `write` appends, behind their length.
pub fn put_message(buffer: &mut Vec<u8>, number: u32, write: impl FnOnce(&mut Vec<u8>)) {
    put_key(buffer, number, BYTES);
    let start = buffer.len();
    buffer.push(0); // the length of most takes one byte
    write(buffer);
    let length = buffer.len() - start - 1;
    if length < 0x80 {
        buffer[start] = length as u8;
    } else {
        let mut prefix = Vec::with_capacity(5);
        put_varint(&mut prefix, length as u64);
        buffer.splice(start..=start, prefix);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_as_they_are_written() {
        let mut buffer = Vec::new();
        put_number(&mut buffer, 1, -1);
        put_text(&mut buffer, 2, "film");
        put_float(&mut buffer, 5, 0.25);
        put_message(&mut buffer, 3, |buffer| put_bytes(buffer, 4, &[7; 300]));
        let mut fields = Fields(&buffer);
        assert_eq!(fields.next(), Some((1, Value::Varint(u64::MAX))));
        assert_eq!(fields.next(), Some((2, Value::Bytes(b"film"))));
        assert_eq!(fields.next(), Some((5, Value::Float(0.25))));
        let Some((3, Value::Bytes(inner))) = fields.next() else { panic!("no message") };
        assert_eq!(Fields(inner).next(), Some((4, Value::Bytes(&[7; 300][..]))));
        assert!(fields.is_empty());
    }

    #[test]
    fn malformed_fields_are_declined() {
        for bytes in [
            &b"\x0a\x05ab"[..],
            b"\x80",
            b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            b"\x88\x80\x80\x80\x80\x00\x01", // a key of six bytes
            b"\x0a\x80\x80\x80\x80\x80\x00",
            b"\x02\x00",
            b"\x0d",
        ] {
            assert_eq!(Fields(bytes).next(), None, "{bytes:?}");
        }
    }
}
