//! A method of a service, as its handlers are registered.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::limits::CALLS_IN_PYTHON;

/// One method.
pub struct Method {
    /// Its number, in the order of registration.
    pub index: usize,
    /// Calls that Python has not begun.
    waiting: AtomicUsize,
    /// Calls that it has, or will.
    in_python: AtomicUsize,
}

impl Method {
    pub fn new(index: usize) -> Self {
        Self { index, waiting: AtomicUsize::new(0), in_python: AtomicUsize::new(0) }
    }

    /// Takes a place among the calls that are in Python, for as long as what is returned lives, if there is one.
    pub fn enter(&self) -> Option<InPython<'_>> {
        let entered = InPython(self);
        (self.in_python.fetch_add(1, Ordering::Relaxed) < CALLS_IN_PYTHON).then_some(entered)
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

/// A call that is in Python.
pub struct InPython<'a>(&'a Method);

impl Drop for InPython<'_> {
    fn drop(&mut self) {
        self.0.in_python.fetch_sub(1, Ordering::Relaxed);
    }
}
