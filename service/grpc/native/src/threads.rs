//! The threads that serve, by number.

use std::cell::Cell;

thread_local! {
    static NUMBER: Cell<usize> = const { Cell::new(0) };
}

/// Gives this thread its number.
pub fn enter(number: usize) {
    NUMBER.set(number);
}

/// Returns this thread's number.
pub fn number() -> usize {
    NUMBER.get()
}
