//! Bearer tokens, as Python has read them. Calls without one of them, and calls after a change of the file, are declined:
//! Python reads the file again, and says what is wrong.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use ring::digest::{SHA256, digest};

const SCHEME: &[u8] = b"bearer ";

/// A file's time of change in nanoseconds, size, inode and device.
pub type Stamp = (i64, u64, u64, u64);

/// The tokens of a file.
pub struct Tokens {
    pub path: PathBuf,
    /// The file's stamp when it was read.
    pub stamp: Stamp,
    /// Each token's SHA-256.
    pub digests: Vec<[u8; 32]>,
}

impl Tokens {
    /// Tells whether a call's headers have a token of the file as it is now.
    pub fn accept(&self, headers: &HeaderMap) -> bool {
        headers.get(AUTHORIZATION).is_some_and(|value| self.holds(value.as_bytes())) && self.is_current()
    }

    fn holds(&self, authorization: &[u8]) -> bool {
        let Some((scheme, token)) = authorization.split_at_checked(SCHEME.len()) else { return false };
        let given = digest(&SHA256, token);
        let mut found = false;
        for known in &self.digests {
            // Compares all bytes of all digests, so that the time does not tell which one matched.
            let difference = known.iter().zip(given.as_ref()).fold(0, |sum, (left, right)| sum | (left ^ right));
            found |= difference == 0;
        }
        found && scheme.eq_ignore_ascii_case(SCHEME)
    }

    fn is_current(&self) -> bool {
        fs::metadata(&self.path).is_ok_and(|file| {
            let time = file.mtime() * 1_000_000_000 + file.mtime_nsec();
            (time, file.size(), file.ino(), file.dev()) == self.stamp
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_token_behind_its_scheme_is_held() {
        let hashed = digest(&SHA256, b"secret").as_ref().try_into().unwrap();
        let tokens = Tokens { path: PathBuf::new(), stamp: (0, 0, 0, 0), digests: vec![[0; 32], hashed] };
        assert!(tokens.holds(b"Bearer secret") && tokens.holds(b"bearer secret"));
        for wrong in [&b"Bearer secre"[..], b"Bearer secret ", b"Basic secret", b"secret", b"", b"Bearer "] {
            assert!(!tokens.holds(wrong));
        }
    }
}
