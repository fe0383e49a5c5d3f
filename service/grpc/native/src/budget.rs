//! A bound on the memory of all calls together: for messages that are incomplete or wait for their handlers, and for
//! responses that clients have not read.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The maximum number of bytes in memory, and the current number.
pub struct Budget {
    limit: usize,
    held: AtomicUsize,
}

impl Budget {
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, held: AtomicUsize::new(0) })
    }
}

/// Bytes that a call holds. Dropping this releases them.
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

    /// Moves the held bytes into a new charge.
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
