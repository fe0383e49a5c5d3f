//! The limits of a server.

use std::time::Duration;

/// Maximum time for the TLS handshake, and for HTTP/2's preface.
pub const HANDSHAKE: Duration = Duration::from_secs(20);
/// Maximum time for the message of a unary call that is answered without Python.
pub const MESSAGE: Duration = Duration::from_secs(60);
/// Time for which a request keeps its place in a queue while the rest of its message arrives.
pub const RESERVATION: Duration = Duration::from_secs(1);
/// Maximum time to send pending data when the server closes a connection.
pub const FLUSH: Duration = Duration::from_millis(500);
/// Unread bytes of one connection, and of one stream.
pub const CONNECTION_WINDOW: u32 = 1024 * 1024;
pub const STREAM_WINDOW: u32 = 256 * 1024;
/// Unread bytes of one stream while large requests are refused.
pub const NARROW_STREAM_WINDOW: u32 = 32 * 1024;
/// Unsent bytes of one stream that HTTP/2 holds.
pub const SEND_BUFFER: usize = 256 * 1024;
/// Maximum number of bytes that all calls together have in memory: messages in several frames, and unread responses.
pub const HELD_BYTES: usize = 48 * 1024 * 1024;
/// Unsent responses of one connection, in bytes, that do not count against the maximum of all calls.
pub const FREE_UNSENT_BYTES: usize = 64 * 1024;
/// What HTTP/2 holds for an unsent response in addition to its bytes: its stream, frames and headers.
pub const RESPONSE_OVERHEAD: usize = 2048;
/// Responses of up to this size are sent at once, whatever the client's window.
pub const SMALL_RESPONSE: usize = 16 * 1024;
/// Connections of one port and thread. An idle one takes 33 KiB. Beyond, the one that has been idle longest is closed.
pub const CONNECTIONS: usize = 2048;
/// Calls of one method in Python at the same time.
pub const CALLS_IN_PYTHON: usize = 1024;
/// Calls of one method that are answered without Python and wait for their client: for a request, or in a stream. The
/// instrumentation in Python has the same limit.
pub const CALLS_WAITING_FOR_CLIENTS: usize = 1000;
/// Calls that Python receives in one iteration of its event loop.
pub const CALLS_PER_TURN: usize = 64;
/// Bytes of one connection that are read without a pause.
pub const TURN_READ_BYTES: usize = 128 * 1024;
/// Bytes of one connection that are read at once while more is there than HTTP/2 asks for.
pub const READ_AHEAD_BYTES: usize = 32 * 1024;
/// Time for which a thread classifies large requests without a pause. One after the other they take less time, since the
/// model's tables stay in the cache.
pub const TURN: Duration = Duration::from_millis(2);
/// Bytes of text after which a thread looks at the time: about half a millisecond.
pub const PART_BYTES: usize = 64 * 1024;
/// Messages of one stream that are answered without a pause.
pub const TURN_MESSAGES: usize = 32;
/// Size that RFC 9113 counts for each header in addition to its name and value.
const HEADER_OVERHEAD: usize = 32;
/// Header lists of up to this multiple of the metadata's limit are decoded, so that a status can refuse them with a reason.
const DECODED_METADATA: u32 = 4;

/// Limits that the configuration sets.
#[derive(Clone, Debug)]
pub struct Limits {
    pub message_bytes: usize,
    pub metadata_bytes: usize,
    pub streams: u32,
    pub pending_calls: usize,
    pub keepalive: Duration,
    pub keepalive_answer: Duration,
    pub ping_interval: Duration,
    pub idle: Duration,
    pub age: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        const FOREVER: Duration = Duration::from_secs(u32::MAX as u64);
        Self {
            message_bytes: 4 << 20,
            metadata_bytes: 16 << 10,
            streams: 100,
            pending_calls: 200,
            keepalive: Duration::from_secs(7200),
            keepalive_answer: Duration::from_secs(20),
            ping_interval: Duration::from_secs(300),
            idle: FOREVER,
            age: FOREVER,
        }
    }
}

impl Limits {
    /// Sets the limit that a gRPC channel argument names. Other channel arguments are ignored.
    pub fn set(&mut self, argument: &str, value: u64) {
        let milliseconds = Duration::from_millis(value);
        let count = usize::try_from(value).unwrap_or(usize::MAX);
        match argument {
            "grpc.max_receive_message_length" => self.message_bytes = count.min(u32::MAX as usize),
            "grpc.absolute_max_metadata_size" => self.metadata_bytes = count.min(1 << 24),
            "grpc.max_concurrent_streams" => self.streams = u32::try_from(value).unwrap_or(u32::MAX),
            "grpc.server.max_pending_requests_hard_limit" => self.pending_calls = count,
            "grpc.keepalive_time_ms" => self.keepalive = milliseconds,
            "grpc.keepalive_timeout_ms" => self.keepalive_answer = milliseconds,
            "grpc.http2.min_ping_interval_without_data_ms" => self.ping_interval = milliseconds,
            "grpc.max_connection_idle_ms" => self.idle = milliseconds,
            "grpc.max_connection_age_ms" => self.age = milliseconds,
            _ => {}
        }
    }

    /// Size of the header lists that HTTP/2 decodes.
    pub fn decoded_metadata(&self) -> u32 {
        (self.metadata_bytes as u32).saturating_mul(DECODED_METADATA)
    }

    /// Tells whether a call's headers are within the limit.
    pub fn allows(&self, headers: &http::HeaderMap) -> bool {
        let size: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + HEADER_OVERHEAD).sum();
        size <= self.metadata_bytes
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn headers_are_allowed_up_to_the_limit_as_rfc_9113_counts_them() {
        let mut limits = Limits::default();
        limits.set("grpc.absolute_max_metadata_size", 100);
        let allows = |bytes: usize| {
            let value = HeaderValue::from_bytes(&vec![b'x'; bytes]).unwrap();
            limits.allows(&HeaderMap::from_iter([(HeaderName::from_static("key"), value)]))
        };
        assert!(allows(100 - 32 - 3));
        assert!(!allows(100 - 32 - 3 + 1));
    }
}
