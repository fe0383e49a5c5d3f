//! Whether the server refuses large requests because too many wait.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::limits::{NARROW_STREAM_WINDOW, STREAM_WINDOW};

/// Time after a refusal for which further ones are expected.
const LASTS: Duration = Duration::from_secs(1);

/// When the last large request was refused.
pub struct Overload {
    start: Instant,
    /// Milliseconds after `start` until which the overload lasts.
    until: AtomicU64,
}

impl Default for Overload {
    fn default() -> Self {
        Self { start: Instant::now(), until: AtomicU64::new(0) }
    }
}

impl Overload {
    /// Notes that a large request is refused.
    pub fn note(&self) {
        self.until.store(self.passed() + LASTS.as_millis() as u64, Ordering::Relaxed);
    }

    /// Returns the window of streams. It is narrow while large requests are refused: their clients then send a small part
    /// before the status reaches them.
    pub fn stream_window(&self) -> u32 {
        if self.passed() < self.until.load(Ordering::Relaxed) { NARROW_STREAM_WINDOW } else { STREAM_WINDOW }
    }

    /// Waits until no large request has been refused for some time, at least that time.
    pub async fn ends(&self) {
        loop {
            sleep(LASTS).await;
            if self.stream_window() == STREAM_WINDOW {
                return;
            }
        }
    }

    fn passed(&self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_narrow_after_a_refusal() {
        let overload = Overload::default();
        assert_eq!(overload.stream_window(), STREAM_WINDOW);
        overload.note();
        assert_eq!(overload.stream_window(), NARROW_STREAM_WINDOW);
    }
}
