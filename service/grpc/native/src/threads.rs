//! The threads that serve: their numbers, and how each divides its time.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use tokio::task::yield_now;

use crate::limits::TURN;

thread_local! {
    static NUMBER: Cell<usize> = const { Cell::new(0) };
    /// When the thread began to classify large requests, after it had served its connections.
    static TURN_BEGAN: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Gives this thread its number.
pub fn enter(number: usize) {
    NUMBER.set(number);
}

/// Returns this thread's number.
pub fn number() -> usize {
    NUMBER.get()
}

/// Lets the thread serve its connections, if it has classified large requests for a whole turn.
pub async fn pause_after_turn() {
    if TURN_BEGAN.get().is_none_or(|began| began.elapsed() >= TURN) {
        yield_now().await;
        TURN_BEGAN.set(Some(Instant::now()));
    }
}

/// When threads have nothing to do. Each counts when it becomes idle and when it no longer is, so an odd count means idle.
pub struct Idleness(Vec<AtomicU64>);

impl Idleness {
    /// Starts with this number of threads, all busy.
    pub fn new(threads: usize) -> Self {
        Self((0..threads).map(|_| AtomicU64::new(0)).collect())
    }

    /// Notes that this thread has become idle, or no longer is.
    pub fn change(&self, number: usize) {
        self.0[number].fetch_add(1, Ordering::Relaxed);
    }

    /// Tells whether each thread has been idle at some time since its count was seen, and updates what has been seen.
    pub fn since(&self, seen: &mut Vec<u64>) -> bool {
        seen.resize(self.0.len(), 0);
        self.0.iter().zip(seen).fold(true, |idle, (count, seen)| {
            let before = std::mem::replace(seen, count.load(Ordering::Relaxed));
            idle && (*seen != before || *seen % 2 == 1)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    #[test]
    fn a_turn_goes_on_until_its_time_is_over() {
        let pauses = || pin!(pause_after_turn()).poll(&mut Context::from_waker(Waker::noop())).is_pending();
        assert!(pauses());
        TURN_BEGAN.set(Some(Instant::now() + TURN));
        assert!(!pauses());
        TURN_BEGAN.set(Instant::now().checked_sub(TURN));
        assert!(pauses());
    }

    #[test]
    fn threads_were_idle_if_each_of_them_was() {
        let idleness = Idleness::new(2);
        let mut seen = Vec::new();
        assert!(!idleness.since(&mut seen));
        idleness.change(0);
        assert!(!idleness.since(&mut seen));
        idleness.change(1);
        assert!(idleness.since(&mut seen) && idleness.since(&mut seen)); // both are idle
        idleness.change(1);
        assert!(idleness.since(&mut seen)); // it was
        assert!(!idleness.since(&mut seen));
    }
}
