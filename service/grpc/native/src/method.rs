//! A method of a service, as its handlers are registered.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::limits::{CALLS_IN_PYTHON, CALLS_WAITING_FOR_CLIENTS};

/// One method.
pub struct Method {
    /// The method's number, in the order of registration.
    pub index: usize,
    /// Number of calls that Python has not begun.
    waiting: AtomicUsize,
    /// Calls that are in Python, begun or not.
    in_python: AtomicUsize,
    /// Calls that are answered without Python and wait for their clients.
    waiting_for_clients: AtomicUsize,
}

impl Method {
    pub fn new(index: usize) -> Self {
        Self {
            index,
            waiting: AtomicUsize::new(0),
            in_python: AtomicUsize::new(0),
            waiting_for_clients: AtomicUsize::new(0),
        }
    }

    /// Takes a place among the calls in Python, if there is one. Dropping the returned value frees it.
    pub fn enter(&self) -> Option<Place<'_>> {
        Place::take(&self.in_python, CALLS_IN_PYTHON)
    }

    /// Takes a place among the calls that wait for their clients without Python, as `enter` does.
    pub fn wait_for_client(&self) -> Option<Place<'_>> {
        Place::take(&self.waiting_for_clients, CALLS_WAITING_FOR_CLIENTS)
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

    /// Notes that Python has begun a call.
    pub fn begun(&self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A place among a limited number of calls. Dropping it frees the place.
pub struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(taken: &'a AtomicUsize, limit: usize) -> Option<Self> {
        let place = Self(taken);
        (taken.fetch_add(1, Ordering::Relaxed) < limit).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
