//! Rewrites the `:authority` header of each call into one that the HTTP/2 library accepts.
//!
//! gRPC's C core, which clients in Python, C++ and Ruby use, sends a list of addresses or the path of a socket as authority,
//! such as `ipv4:127.0.0.1:1,127.0.0.1:2`. The library rejects such calls, because that is not a valid authority of a
//! URI. This server never uses the authority, so each character that could be invalid is replaced. The length stays the
//! same, and with it the state of the HPACK tables, whose entries count by length. Huffman-coded authorities pass
//! unchanged: the C core sends none.

const NAME: &[u8] = b":authority";
/// The index of the name in HPACK's static table (RFC 7541, appendix A).
const INDEX: usize = 1;
const HUFFMAN: u8 = 0x80;

/// What the next byte of a header block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// The first byte of a header.
    Header,
    /// A further byte of an index whose value does not matter.
    Index(After),
    /// The first byte of a string's length.
    Length(Text),
    /// A further byte of a string's length: the length so far, and its bits.
    Longer(Text, usize, u32),
    /// A byte of a string, with the number of bytes that are left.
    Text(Text, usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    Header,
    Value,
}

/// A string of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Text {
    /// A name, and how many of its bytes match `:authority`; None: it is another name.
    Name(Option<usize>),
    /// The value of the authority, or of another header.
    Value { authority: bool },
}

/// Follows header blocks (RFC 7541, section 6).
pub struct Authorities(Next);

impl Authorities {
    pub fn new() -> Self {
        Self(Next::Header)
    }

    /// Starts a header block.
    pub fn begin(&mut self) {
        self.0 = Next::Header;
    }

    /// Reads bytes of a header block, and replaces invalid ones of an authority.
    pub fn read(&mut self, mut bytes: &mut [u8]) {
        while !bytes.is_empty() {
            let taken = if let Next::Text(_, left) = self.0 { left.min(bytes.len()) } else { 1 };
            let (part, rest) = bytes.split_at_mut(taken);
            self.0 = match self.0 {
                Next::Text(text, left) => text.read(part, left - taken),
                next => next.follow(part[0]),
            };
            bytes = rest;
        }
    }
}

impl Next {
    fn follow(self, byte: u8) -> Self {
        match self {
            Self::Header => header(byte),
            Self::Index(_) if byte & 0x80 != 0 => self,
            Self::Index(After::Header) => Self::Header,
            Self::Index(After::Value) => Self::Length(Text::Value { authority: false }),
            Self::Length(text) => {
                let text = if byte & HUFFMAN == 0 { text } else { text.coded() };
                match usize::from(byte & 0x7f) {
                    0x7f => Self::Longer(text, 0x7f, 0),
                    length => text.of(length),
                }
            }
            Self::Longer(text, length, bits) => {
                let length = length.saturating_add(usize::from(byte & 0x7f).checked_shl(bits).unwrap_or(0));
                if byte & 0x80 != 0 { Self::Longer(text, length, bits.saturating_add(7)) } else { text.of(length) }
            }
            Self::Text(..) => self,
        }
    }
}

/// Reads the first byte of a header.
fn header(byte: u8) -> Next {
    let (index, largest, literal) = match byte {
        0x80.. => (byte & 0x7f, 0x7f, false),
        0x40.. => (byte & 0x3f, 0x3f, true),
        0x20.. => (byte & 0x1f, 0x1f, false), // a change of the table's size
        _ => (byte & 0x0f, 0x0f, true),
    };
    match (literal, usize::from(index)) {
        (false, _) if index == largest => Next::Index(After::Header),
        (false, _) => Next::Header,
        (true, 0) => Next::Length(Text::Name(Some(0))),
        (true, _) if index == largest => Next::Index(After::Value),
        (true, index) => Next::Length(Text::Value { authority: index == INDEX }),
    }
}

impl Text {
    /// Returns what a Huffman-coded string of this kind is.
    fn coded(self) -> Self {
        match self {
            Self::Name(_) => Self::Name(None),
            Self::Value { .. } => Self::Value { authority: false },
        }
    }

    /// Returns what follows the length of a string.
    fn of(self, length: usize) -> Next {
        if length == 0 { self.ended() } else { Next::Text(self, length) }
    }

    fn ended(self) -> Next {
        match self {
            Self::Name(matched) => Next::Length(Text::Value { authority: matched == Some(NAME.len()) }),
            Self::Value { .. } => Next::Header,
        }
    }

    /// Reads a part of the string, after which this number of bytes is left.
    fn read(self, part: &mut [u8], left: usize) -> Next {
        let text = match self {
            Self::Name(matched) => Self::Name(matched.and_then(|matched| {
                let end = matched + part.len();
                NAME.get(matched..end).is_some_and(|name| name == part).then_some(end)
            })),
            Self::Value { authority } => {
                if authority {
                    part.iter_mut()
                        .filter(|byte| !byte.is_ascii_alphanumeric() && **byte != b'.')
                        .for_each(|byte| *byte = b'-');
                }
                self
            }
        };
        if left == 0 { text.ended() } else { Next::Text(text, left) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn string(text: &[u8]) -> Vec<u8> {
        let mut bytes = if text.len() < 0x7f { vec![text.len() as u8] } else { vec![0x7f, (text.len() - 0x7f) as u8] };
        bytes.extend_from_slice(text);
        bytes
    }

    /// Reads a block in parts of each size.
    fn read(block: &[u8]) -> Vec<u8> {
        let mut results = (1..=block.len()).map(|size| {
            let mut bytes = block.to_vec();
            let mut authorities = Authorities::new();
            bytes.chunks_mut(size).for_each(|part| authorities.read(part));
            assert_eq!(authorities.0, Next::Header, "{size}");
            bytes
        });
        let first = results.next().unwrap();
        assert!(results.all(|result| result == first));
        first
    }

    #[test]
    fn an_authority_that_is_none_of_a_uri_is_made_one_of_the_same_length() {
        let list = b"127.0.0.1:1,127.0.0.1:2".repeat(8);
        for (name, value) in [
            (vec![0x41], &b"%2Ftmp%2Fsocket"[..]),
            (vec![0x01], b"127.0.0.1:1,127.0.0.1:2"),
            ([vec![0x40], string(NAME)].concat(), &list[..100]),
            ([vec![0x40], string(NAME)].concat(), &list),
        ] {
            let changed: Vec<u8> = value.iter().map(|byte| if b":,%".contains(byte) { b'-' } else { *byte }).collect();
            let others =
                [vec![0x83, 0x86, 0xff, 0x80, 0x00, 0x3f, 0x01], [vec![0x44], string(b"/a/b:c")].concat()].concat();
            let block = |value: &[u8]| [others.clone(), name.clone(), string(value), others.clone()].concat();
            assert_eq!(read(&block(value)), block(&changed));
        }
    }

    #[test]
    fn other_headers_stay() {
        let headers = [
            [vec![0x40], string(b":authorit"), string(b"a:b")].concat(),
            [vec![0x40], string(b":authoritys"), string(b"a:b")].concat(),
            [vec![0x10], string(b"x"), string(b":authority")].concat(),
            [vec![0x7f, 0x81, 0x01], string(b"a:b")].concat(),
            vec![0x41, HUFFMAN | 3, b':', b',', b'%'],
            [vec![0x00, 0], string(b"a:b")].concat(),
        ];
        let block = headers.concat();
        assert_eq!(read(&block), block);
    }
}
