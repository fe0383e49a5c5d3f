//! A method of a service, as its handlers are registered.

use std::sync::atomic::{AtomicUsize, Ordering};

/// One method.
pub struct Method {
    /// Its number, in the order of registration.
    pub index: usize,
    /// Calls that Python has not begun.
    waiting: AtomicUsize,
}

impl Method {
    pub fn new(index: usize) -> Self {
        Self { index, waiting: AtomicUsize::new(0) }
    }

    /// Takes a place among the calls that wait for Python, if there is one.
    pub fn try_wait(&self, limit: usize) -> bool {
        let taken = self
            .waiting
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| (count < limit).then_some(count + 1));
        taken.is_ok()
    }

    /// Tells whether a call would find no place now.
    pub fn is_full(&self, limit: usize) -> bool {
        self.waiting.load(Ordering::Relaxed) >= limit
    }

    /// A call that waited has begun, or will not.
    pub fn begun(&self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}
