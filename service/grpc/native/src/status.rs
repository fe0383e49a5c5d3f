//! How a call ends: a code, a message for people, and trailing metadata.

use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, CONTROLS, percent_encode};

/// The codes that this transport sends by itself; handlers may send any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Code {
    Ok = 0,
    Cancelled = 1,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    ResourceExhausted = 8,
    Unimplemented = 12,
    Internal = 13,
}

/// The end of a call.
#[derive(Debug)]
pub struct Status {
    pub code: u32,
    pub message: String,
    pub trailing: HeaderMap,
}

/// Characters of `grpc-message` that are percent-encoded: all but visible ASCII and the space, and the percent sign.
const ENCODED: &AsciiSet = &CONTROLS.add(b'%');

static GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
static GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

impl Status {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code: code as u32, message: message.into(), trailing: HeaderMap::new() }
    }

    pub fn ok() -> Self {
        Self::new(Code::Ok, "")
    }

    /// Writes the status behind its own trailing metadata.
    pub fn into_trailers(self) -> HeaderMap {
        let mut trailers = self.trailing;
        trailers.insert(GRPC_STATUS.clone(), HeaderValue::from(self.code));
        if !self.message.is_empty() {
            let encoded = percent_encode(self.message.as_bytes(), ENCODED).to_string();
            if let Ok(value) = HeaderValue::from_str(&encoded) {
                trailers.insert(GRPC_MESSAGE.clone(), value);
            }
        }
        trailers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_percent_encoded() {
        let trailers = Status::new(Code::Internal, "\t50% of ☺\n").into_trailers();
        assert_eq!(trailers["grpc-message"], "%0950%25 of %E2%98%BA%0A");
        assert_eq!(trailers["grpc-status"], "13");
    }

    #[test]
    fn an_empty_message_is_left_out() {
        assert!(!Status::ok().into_trailers().contains_key("grpc-message"));
    }
}
