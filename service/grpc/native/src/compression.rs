//! Compression of single messages: gzip and deflate, as gRPC names them. The decompressed size is bounded.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use flate2::write::{GzEncoder, ZlibEncoder};
use http::HeaderValue;

use crate::status::{Code, Status};

/// Maximum size of a message relative to its compressed size, as `service.grpc.decoding` has it.
pub const MAX_RATIO: usize = 100;
/// A message of this size or less may be compressed by any ratio.
pub const FREE_BYTES: usize = 256 * 1024;

/// Encodings that a client may use and ask for.
pub const ACCEPTED: &str = "identity, deflate, gzip";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Identity,
    Deflate,
    Gzip,
}

impl Encoding {
    pub fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Deflate => "deflate",
            Self::Gzip => "gzip",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Identity, Self::Deflate, Self::Gzip].into_iter().find(|encoding| encoding.name() == name)
    }

    /// Tells whether a `grpc-accept-encoding` header names this encoding.
    pub fn is_accepted(self, header: Option<&HeaderValue>) -> bool {
        let names = header.and_then(|value| value.to_str().ok()).unwrap_or("");
        self == Self::Identity || names.split(',').any(|name| name.trim() == self.name())
    }
}

/// Decompresses a message of at most `max_bytes` bytes, and at most `MAX_RATIO` times its compressed size.
pub fn decompress(encoding: Encoding, message: &[u8], max_bytes: usize) -> Result<Vec<u8>, Status> {
    let limit = max_bytes.min(message.len().saturating_mul(MAX_RATIO).max(FREE_BYTES));
    let decoder: Box<dyn Read> = match encoding {
        Encoding::Identity => {
            return Err(Status::new(Code::Internal, "a message is compressed, but the call names no encoding"));
        }
        Encoding::Deflate => Box::new(ZlibDecoder::new(message)),
        Encoding::Gzip => Box::new(MultiGzDecoder::new(message)),
    };
    let mut whole = Vec::with_capacity(message.len().saturating_mul(2).min(limit));
    match decoder.take(limit as u64 + 1).read_to_end(&mut whole) {
        Ok(_) if whole.len() > limit => Err(Status::new(
            Code::ResourceExhausted,
            format!(
                "request: is larger than {limit} bytes when decompressed; the maximum is {max_bytes} bytes, and \
                 {MAX_RATIO} times the compressed size"
            ),
        )),
        Ok(_) => Ok(whole),
        Err(_) => Err(Status::new(Code::InvalidArgument, format!("request: is not valid {}", encoding.name()))),
    }
}

/// Compresses a message and appends it to `buffer`. `Identity` copies it.
pub fn compress(encoding: Encoding, message: &[u8], buffer: Vec<u8>) -> Vec<u8> {
    const NEVER_FAILS: &str = "writing to memory does not fail";
    match encoding {
        Encoding::Identity => {
            let mut buffer = buffer;
            buffer.extend_from_slice(message);
            buffer
        }
        Encoding::Deflate => {
            let mut encoder = ZlibEncoder::new(buffer, Compression::default());
            encoder.write_all(message).expect(NEVER_FAILS);
            encoder.finish().expect(NEVER_FAILS)
        }
        Encoding::Gzip => {
            let mut encoder = GzEncoder::new(buffer, Compression::default());
            encoder.write_all(message).expect(NEVER_FAILS);
            encoder.finish().expect(NEVER_FAILS)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_compressed_is_decompressed() {
        for encoding in [Encoding::Deflate, Encoding::Gzip] {
            let compressed = compress(encoding, b"a moving film", Vec::new());
            assert_eq!(decompress(encoding, &compressed, 13).unwrap(), b"a moving film");
        }
    }

    #[test]
    fn more_than_the_limit_is_refused() {
        let bomb = compress(Encoding::Gzip, &vec![0; 1 << 20], Vec::new());
        let status = decompress(Encoding::Gzip, &bomb, 1 << 10).unwrap_err();
        assert_eq!(status.code, Code::ResourceExhausted as u32);
    }

    #[test]
    fn a_ratio_beyond_text_is_refused() {
        let zeros = compress(Encoding::Gzip, &vec![0; 1 << 20], Vec::new());
        let status = decompress(Encoding::Gzip, &zeros, 16 << 20).unwrap_err();
        assert_eq!(status.code, Code::ResourceExhausted as u32);
        let few = compress(Encoding::Gzip, &vec![0; FREE_BYTES], Vec::new());
        assert_eq!(decompress(Encoding::Gzip, &few, 16 << 20).unwrap().len(), FREE_BYTES);
    }

    #[test]
    fn a_client_accepts_the_encodings_that_its_header_names() {
        let header = HeaderValue::from_static("identity, gzip");
        assert!(Encoding::Gzip.is_accepted(Some(&header)) && !Encoding::Deflate.is_accepted(Some(&header)));
        assert!(Encoding::Identity.is_accepted(None) && !Encoding::Gzip.is_accepted(None));
    }

    #[test]
    fn what_is_not_compressed_is_refused() {
        assert_eq!(decompress(Encoding::Gzip, b"text", 100).unwrap_err().code, Code::InvalidArgument as u32);
        assert_eq!(decompress(Encoding::Identity, b"text", 100).unwrap_err().code, Code::Internal as u32);
    }
}
