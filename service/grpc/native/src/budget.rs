//! A bound on the memory of all calls together: for messages that are incomplete or wait for their handlers, and for
//! responses that clients have not read.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Buf, Bytes};

use crate::limits::{FREE_UNSENT_BYTES, RESPONSE_OVERHEAD};

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

    /// Moves this number of bytes, or all if there are fewer, into a new charge.
    fn split(&mut self, bytes: usize) -> Self {
        let moved = bytes.min(self.bytes);
        self.bytes -= moved;
        Self { budget: Arc::clone(&self.budget), bytes: moved }
    }

    /// Moves the held bytes into a new charge.
    pub fn take(&mut self) -> Self {
        self.split(usize::MAX)
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// The responses of one connection that have not been sent: the client does not read, or its windows are closed. Some are
/// free, so that clients that read are answered whatever others hold; the others count against the budget.
pub struct Unsent {
    budget: Arc<Budget>,
    bytes: AtomicUsize,
}

impl Unsent {
    pub fn new(budget: &Arc<Budget>) -> Arc<Self> {
        Arc::new(Self { budget: Arc::clone(budget), bytes: AtomicUsize::new(0) })
    }

    /// Holds a response of this size, if there is room for it.
    pub fn hold(self: &Arc<Self>, size: usize) -> Option<Held> {
        let bytes = size + RESPONSE_OVERHEAD;
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let mut held = Held { unsent: Arc::clone(self), bytes, charge: Charge::none(&self.budget) };
        (before + bytes <= FREE_UNSENT_BYTES || held.charge.add(bytes)).then_some(held)
    }
}

/// Memory of a response that is held until the response has been sent. Dropping this releases it.
pub struct Held {
    unsent: Arc<Unsent>,
    bytes: usize,
    charge: Charge,
}

impl Held {
    /// Moves this number of bytes into their own holder.
    pub fn split(&mut self, bytes: usize) -> Self {
        self.bytes -= bytes;
        Self { unsent: Arc::clone(&self.unsent), bytes, charge: self.charge.split(bytes) }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.unsent.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A part of a response. HTTP/2 drops it when it has been sent, or when nobody waits for it any more.
pub struct Part {
    bytes: Bytes,
    _held: Held,
}

impl Part {
    pub fn new(bytes: Bytes, held: Held) -> Self {
        Self { bytes, _held: held }
    }
}

impl Buf for Part {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_holds_some_responses_for_free_and_the_others_within_the_budget() {
        const FREE: usize = FREE_UNSENT_BYTES - RESPONSE_OVERHEAD;
        let budget = Budget::new(RESPONSE_OVERHEAD + 10);
        let (first, second) = (Unsent::new(&budget), Unsent::new(&budget));
        let free = first.hold(FREE).unwrap();
        let mut held = first.hold(10).unwrap();
        assert!(first.hold(0).is_none());
        assert!(second.hold(FREE).is_some()); // whatever others hold
        let part = Part::new(Bytes::from_static(b"film"), held.split(4));
        drop(held);
        assert!(first.hold(6).is_some() && first.hold(7).is_none());
        drop(part);
        assert!(first.hold(10).is_some());
        drop(free);
        assert!(first.hold(FREE).is_some());
    }

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
