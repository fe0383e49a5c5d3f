//! The bytes that calls may hold together: of messages that have come in part or wait for their handlers, and of answers
//! that their clients have not taken.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes that may be held, and those that are.
pub struct Budget {
    limit: usize,
    held: AtomicUsize,
}

impl Budget {
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, held: AtomicUsize::new(0) })
    }
}

/// Bytes that are held, until this is dropped.
pub struct Charge {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Charge {
    pub fn none(budget: &Arc<Budget>) -> Self {
        Self { budget: Arc::clone(budget), bytes: 0 }
    }

    /// Holds more bytes, if there is room for them.
    pub fn add(&mut self, bytes: usize) -> bool {
        let Budget { limit, held } = &*self.budget;
        let fits = |held: usize| held.checked_add(bytes).filter(|sum| sum <= limit);
        let added = held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok();
        self.bytes += if added { bytes } else { 0 };
        added
    }

    /// Parts with what is held, for it to be held elsewhere.
    pub fn take(&mut self) -> Self {
        Self { budget: Arc::clone(&self.budget), bytes: std::mem::take(&mut self.bytes) }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dropped_makes_room() {
        let budget = Budget::new(10);
        let mut first = Charge::none(&budget);
        assert!(first.add(6) && first.add(4) && !first.add(1));
        let moved = first.take();
        drop(first);
        let mut second = Charge::none(&budget);
        assert!(!second.add(1));
        drop(moved);
        assert!(second.add(10));
    }
}
