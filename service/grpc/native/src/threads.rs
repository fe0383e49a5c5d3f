//! The threads that serve: their numbers, and how each divides its time.

use std::cell::Cell;
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
