//! What holds of everything that reads from the network, whatever comes. The tests below try changed messages; `fuzz/` runs
//! the same functions under libFuzzer.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderValue;

use crate::budget::{Budget, Holder};
use crate::codec::Assembler;
use crate::compression::{Encoding, FREE_BYTES, MAX_RATIO, decompress};
use crate::deadline::parse_timeout;
use crate::io::Frames;
use crate::metadata::status_message;
use crate::protobuf::{classify, infer};

const LIMIT: usize = 1 << 20;
const MAX_TEXTS: usize = 3;

/// Messages are the same, and so is what ends them, however their bytes are cut into DATA frames.
pub fn messages(bytes: &[u8]) {
    let whole = assembled(bytes, bytes.len().max(1));
    for size in [1, 5, 64] {
        assert_eq!(assembled(bytes, size), whole, "{size}");
    }
}

/// Returns the messages, the code of what ends them, and whether nothing is left of them.
fn assembled(bytes: &[u8], size: usize) -> (Vec<Result<Bytes, u32>>, Option<u32>, bool) {
    let mut assembler = Assembler::new(Encoding::Gzip, LIMIT, &Holder::new(&Budget::new(usize::MAX), None));
    let mut messages = Vec::new();
    for frame in bytes.chunks(size) {
        assembler.push(Bytes::copy_from_slice(frame)).expect("the budget has no end");
        loop {
            match assembler.take() {
                Ok(Some(message)) => messages.push(message.bytes().map_err(|status| status.code)),
                Ok(None) => break,
                Err(status) => return (messages, Some(status.code), false),
            }
        }
    }
    (messages, None, assembler.is_empty())
}

/// A request is declined, or read within its limits and without a copy.
pub fn requests(bytes: &[u8]) {
    let inside = |text: &&str| text.is_empty() || bytes.as_ptr_range().contains(&text.as_ptr());
    if let Some(request) = classify::read(bytes, MAX_TEXTS) {
        assert!(request.texts.len() <= MAX_TEXTS && request.texts.iter().all(inside));
    }
    if let Some(request) = infer::read(bytes, MAX_TEXTS) {
        assert!(request.texts.len() <= MAX_TEXTS && request.texts.iter().all(inside));
        assert!((1..=3).contains(&request.outputs.len()));
    }
}

/// Frames become the same however their bytes come, and all but authorities stay as they are.
pub fn frames(bytes: &[u8]) {
    let whole = watched(bytes, bytes.len().max(1));
    for size in [1, 7, 24] {
        assert_eq!(watched(bytes, size), whole, "{size}");
    }
    for (before, after) in bytes.iter().zip(&whole) {
        assert!(before == after || *after == b'-');
    }
}

fn watched(bytes: &[u8], size: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let mut frames = Frames::new(Duration::from_secs(10));
    let now = Instant::now();
    bytes.chunks_mut(size).for_each(|part| _ = frames.read(part, now));
    bytes
}

/// What is decompressed keeps to its limits.
pub fn compression(bytes: &[u8]) {
    for encoding in [Encoding::Deflate, Encoding::Gzip] {
        if let Ok(whole) = decompress(encoding, bytes, LIMIT) {
            assert!(whole.len() <= LIMIT && whole.len() <= FREE_BYTES.max(MAX_RATIO * bytes.len()));
        }
    }
}

/// Headers are understood or not.
pub fn headers(bytes: &[u8]) {
    status_message(bytes);
    let Ok(value) = HeaderValue::from_bytes(bytes) else { return };
    if let Some(timeout) = parse_timeout(&value) {
        assert!(timeout <= Duration::from_secs(99_999_999 * 3600));
    }
    assert!(Encoding::Identity.is_accepted(Some(&value)));
    Encoding::Gzip.is_accepted(Some(&value));
}

#[cfg(test)]
mod tests {
    use arbtest::arbitrary::{Result, Unstructured};
    use arbtest::arbtest;

    use super::*;
    use crate::codec::encode;
    use crate::compression::compress;

    const CLASSIFY: &[u8] = b"\x0a\x04imdb\x10\x02\x1a\x04film\x1a\x00\x20\x03\x28\x00";
    const INFER: &[u8] = b"\x0a\x04imdb\x2a\x11\x0a\x04text\x12\x05BYTES\x1a\x02\x02\x01\x32\x07\x0a\x05label\
        \x3a\x0c\x04\x00\x00\x00film\x00\x00\x00\x00";
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

    /// Tries what comes of good bytes when some are changed, added and left out.
    fn fuzz(property: fn(&[u8]), seeds: &[&[u8]]) {
        arbtest(|random| {
            let mut bytes = random.choose(seeds)?.to_vec();
            for _ in 0..random.int_in_range(0..=4)? {
                change(&mut bytes, random)?;
            }
            property(&bytes);
            Ok(())
        })
        .budget(Duration::from_secs(1));
    }

    fn change(bytes: &mut Vec<u8>, random: &mut Unstructured<'_>) -> Result<()> {
        let at = random.int_in_range(0..=bytes.len())?;
        let end = random.int_in_range(at..=bytes.len().min(at + 4))?;
        let new: Vec<u8> = (0..random.int_in_range(0..=4)?).map(|_| random.arbitrary()).collect::<Result<_>>()?;
        bytes.splice(at..end, new);
        if random.ratio(1, 10)? {
            bytes.truncate(at);
        }
        Ok(())
    }

    #[test]
    fn messages_are_the_same_however_they_are_cut() {
        let plain = encode(b"film", Encoding::Identity);
        let several = [&plain[..], &encode(&[7; 300], Encoding::Gzip), &encode(b"", Encoding::Identity)].concat();
        fuzz(messages, &[b"", &plain, &several]);
    }

    #[test]
    fn requests_are_read_or_declined() {
        fuzz(requests, &[CLASSIFY, INFER]);
    }

    #[test]
    fn frames_are_the_same_however_they_come() {
        let headers = b"\x00\x00\x17\x01\x04\x00\x00\x00\x01\x83\x86\x41\x08a:1,b%2F\x44\x05/a/b:\x00\x01x\x01y";
        let more = b"\x00\x00\x03\x09\x04\x00\x00\x00\x01\x41\x01:\x00\x00\x08\x06\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00";
        fuzz(frames, &[PREFACE, &[PREFACE, headers, more].concat()]);
    }

    #[test]
    fn what_is_decompressed_keeps_to_its_limits() {
        let bomb = compress(Encoding::Gzip, &vec![0; 2 * LIMIT], Vec::new());
        let deflated = compress(Encoding::Deflate, &[7; 300], Vec::new());
        fuzz(compression, &[&bomb, &deflated, &compress(Encoding::Gzip, b"film", Vec::new())]);
    }

    #[test]
    fn headers_are_understood_or_not() {
        fuzz(headers, &[b"99999999H", b"100m", b"identity, gzip", b"\x08\x08\x12\x04full"]);
    }
}
