//! Random numbers for sampling and for spreading load, which nobody gains from guessing.

use std::hash::{BuildHasher, RandomState};

/// Returns a number from 0 to 1. The hasher's keys differ from call to call.
pub fn fraction() -> f64 {
    RandomState::new().hash_one(()) as f64 / u64::MAX as f64
}
