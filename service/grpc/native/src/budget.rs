//! A bound on the memory of all calls together: for messages that are incomplete or wait for their handlers, and for
//! responses that clients have not read.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::{Buf, Bytes};

use crate::limits::{FREE_UNSENT_BYTES, RESPONSE_OVERHEAD};

/// A connection may hold this multiple of the bytes that stay free: at most two thirds of the budget.
const CONNECTION_SHARE: usize = 2;
/// The connections of an address together may hold this multiple of the bytes that stay free: at most four fifths.
const ADDRESS_SHARE: usize = 4;

/// The maximum number of bytes in memory, and the current number.
pub struct Budget {
    limit: usize,
    held: AtomicUsize,
    /// What the connections of each address hold.
    addresses: Mutex<HashMap<IpAddr, Weak<AtomicUsize>>>,
}

impl Budget {
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, held: AtomicUsize::new(0), addresses: Mutex::default() })
    }

    fn addresses(&self) -> MutexGuard<'_, HashMap<IpAddr, Weak<AtomicUsize>>> {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one connection holds of the budget.
///
/// Its share shrinks as the budget fills: it may hold a multiple of what stays free. Therefore neither one connection nor
/// all connections of one address take what others need.
pub struct Holder {
    budget: Arc<Budget>,
    held: AtomicUsize,
    /// The connection's address; None: a Unix domain socket.
    address: Option<IpAddr>,
    held_by_address: Arc<AtomicUsize>,
    /// Bytes of unsent responses, those that are free included.
    unsent: AtomicUsize,
}

impl Holder {
    pub fn new(budget: &Arc<Budget>, address: Option<IpAddr>) -> Arc<Self> {
        let address = address.map(client_address);
        let mut held_by_address = Arc::default();
        if let Some(address) = address {
            let mut addresses = budget.addresses();
            let known = addresses.entry(address).or_default();
            held_by_address = known.upgrade().unwrap_or(held_by_address);
            *known = Arc::downgrade(&held_by_address);
        }
        let budget = Arc::clone(budget);
        Arc::new(Self { budget, held: AtomicUsize::new(0), address, held_by_address, unsent: AtomicUsize::new(0) })
    }

    /// Holds more bytes, if they are within the shares of the connection and its address.
    fn add(&self, bytes: usize) -> bool {
        let [by_connection, by_address] =
            [&self.held, &self.held_by_address].map(|held| held.load(Ordering::Relaxed).saturating_add(bytes));
        let fits = |held: usize| {
            let sum = held.checked_add(bytes)?;
            let free = self.budget.limit.checked_sub(sum)?;
            let fair = by_connection <= free.saturating_mul(CONNECTION_SHARE)
                && by_address <= free.saturating_mul(ADDRESS_SHARE);
            fair.then_some(sum)
        };
        let added = self.budget.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok();
        if added {
            self.held.fetch_add(bytes, Ordering::Relaxed);
            self.held_by_address.fetch_add(bytes, Ordering::Relaxed);
        }
        added
    }

    fn remove(&self, bytes: usize) {
        for held in [&self.held, &self.held_by_address, &self.budget.held] {
            held.fetch_sub(bytes, Ordering::Relaxed);
        }
    }

    /// Holds a response of this size until it has been sent, if there is room for it. Some responses of a connection are
    /// free, so that clients that read are answered whatever others hold.
    pub fn hold_response(self: &Arc<Self>, size: usize) -> Option<Held> {
        let bytes = size + RESPONSE_OVERHEAD;
        let before = self.unsent.fetch_add(bytes, Ordering::Relaxed);
        let mut held = Held { bytes, charge: Charge::none(self) };
        (before + bytes <= FREE_UNSENT_BYTES || held.charge.add(bytes)).then_some(held)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let Some(address) = self.address else { return };
        let mut addresses = self.budget.addresses();
        if Arc::strong_count(&self.held_by_address) == 1 {
            addresses.remove(&address);
        }
    }
}

/// Returns what stands for a client: an IPv4 address, or the network of an IPv6 address, within which a client may choose.
fn client_address(address: IpAddr) -> IpAddr {
    const NETWORK: u128 = !0 << 64;
    match address.to_canonical() {
        IpAddr::V6(address) if !address.is_loopback() => IpAddr::V6((address.to_bits() & NETWORK).into()),
        address => address,
    }
}

/// Bytes that a call holds. Dropping this releases them.
pub struct Charge {
    holder: Arc<Holder>,
    bytes: usize,
}

impl Charge {
    pub fn none(holder: &Arc<Holder>) -> Self {
        Self { holder: Arc::clone(holder), bytes: 0 }
    }

    /// Holds more bytes, if there is room for them.
    pub fn add(&mut self, bytes: usize) -> bool {
        let added = self.holder.add(bytes);
        self.bytes += if added { bytes } else { 0 };
        added
    }

    /// Moves this number of bytes, or all if there are fewer, into a new charge.
    fn split(&mut self, bytes: usize) -> Self {
        let moved = bytes.min(self.bytes);
        self.bytes -= moved;
        Self { holder: Arc::clone(&self.holder), bytes: moved }
    }

    /// Moves the held bytes into a new charge.
    pub fn take(&mut self) -> Self {
        self.split(usize::MAX)
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.holder.remove(self.bytes);
        }
    }
}

/// Memory of a response that is held until the response has been sent. Dropping this releases it.
pub struct Held {
    bytes: usize,
    charge: Charge,
}

impl Held {
    /// Moves this number of bytes into their own holder.
    pub fn split(&mut self, bytes: usize) -> Self {
        self.bytes -= bytes;
        Self { bytes, charge: self.charge.split(bytes) }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.charge.holder.unsent.fetch_sub(self.bytes, Ordering::Relaxed);
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

    const LIMIT: usize = 30_000;

    fn holder(budget: &Arc<Budget>, address: &str) -> Arc<Holder> {
        Holder::new(budget, Some(address.parse().unwrap()))
    }

    /// Holds as many bytes as there is room for, and returns the charge.
    fn fill(holder: &Arc<Holder>) -> Charge {
        let mut charge = Charge::none(holder);
        while charge.add(10) {}
        charge
    }

    #[test]
    fn a_connection_holds_some_responses_for_free_and_the_others_within_the_budget() {
        const FREE: usize = FREE_UNSENT_BYTES - RESPONSE_OVERHEAD;
        let budget = Budget::new((RESPONSE_OVERHEAD + 10) * 3 / 2);
        let (first, second) = (Holder::new(&budget, None), Holder::new(&budget, None));
        let free = first.hold_response(FREE).unwrap();
        let mut held = first.hold_response(10).unwrap();
        assert!(first.hold_response(0).is_none());
        assert!(second.hold_response(FREE).is_some()); // whatever others hold
        let part = Part::new(Bytes::from_static(b"film"), held.split(4));
        drop(held);
        assert!(first.hold_response(6).is_some() && first.hold_response(7).is_none());
        drop(part);
        assert!(first.hold_response(10).is_some());
        drop(free);
        assert!(first.hold_response(FREE).is_some());
    }

    #[test]
    fn what_is_dropped_makes_room() {
        let budget = Budget::new(15);
        let holder = Holder::new(&budget, None);
        let mut first = Charge::none(&holder);
        assert!(first.add(6) && first.add(4) && !first.add(1));
        let moved = first.take();
        drop(first);
        let mut second = Charge::none(&holder);
        assert!(!second.add(1));
        drop(moved);
        assert!(second.add(10));
    }

    #[test]
    fn a_connection_leaves_room_for_others_of_its_address_and_these_for_other_addresses() {
        let budget = Budget::new(LIMIT);
        let greedy: Vec<_> = (0..10).map(|_| fill(&holder(&budget, "192.0.2.1"))).collect();
        assert_eq!(greedy[0].bytes, LIMIT * 2 / 3);
        assert!(greedy[1].bytes > LIMIT / 10);
        let together: usize = greedy.iter().map(|charge| charge.bytes).sum();
        assert!(together <= LIMIT * 4 / 5);
        assert!(fill(&holder(&budget, "192.0.2.2")).bytes > LIMIT / 10);
    }

    #[test]
    fn a_client_is_an_ipv4_address_or_a_network_of_ipv6() {
        let same =
            |one: &str, other: &str| client_address(one.parse().unwrap()) == client_address(other.parse().unwrap());
        assert!(same("2001:db8::1", "2001:db8::2:1") && !same("2001:db8::1", "2001:db8:0:1::1"));
        assert!(same("::ffff:192.0.2.1", "192.0.2.1") && !same("192.0.2.1", "192.0.2.2"));
    }

    #[test]
    fn an_address_without_connections_is_forgotten() {
        let budget = Budget::new(LIMIT);
        let (first, second) = (holder(&budget, "192.0.2.1"), holder(&budget, "192.0.2.1"));
        drop(first);
        assert_eq!(budget.addresses().len(), 1);
        drop(second);
        assert!(budget.addresses().is_empty());
    }
}
