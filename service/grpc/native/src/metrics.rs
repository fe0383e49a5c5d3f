//! Updates the time series in the memory that Python shares with the metrics server, without the GIL.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::status::Code;

/// The values of one series.
pub struct Series {
    values: *const AtomicU64,
    length: usize,
    /// Keeps the memory.
    _buffer: PyBuffer<f64>,
}

// SAFETY: the values are only used as atomics, and the buffer only to keep their memory.
unsafe impl Send for Series {}
// SAFETY: as above.
unsafe impl Sync for Series {}

impl<'py> FromPyObject<'_, 'py> for Series {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let buffer = PyBuffer::<f64>::get(&object)?;
        let length = buffer.item_count();
        let values = buffer.buf_ptr().cast::<AtomicU64>();
        if buffer.readonly() || !buffer.is_c_contiguous() || !values.is_aligned() || length == 0 {
            return Err(PyValueError::new_err("a series is contiguous, writable and not empty"));
        }
        Ok(Self { values, length, _buffer: buffer })
    }
}

impl Series {
    /// Adds to one of the values.
    pub fn add(&self, index: usize, amount: f64) {
        assert!(index < self.length);
        // SAFETY: the buffer has `length` aligned values, lives as long as `self`, and this transport alone writes to it,
        // with atomics. Readers in other processes may see a value before or after.
        let value = unsafe { &*self.values.add(index) };
        let add = |bits| Some((f64::from_bits(bits) + amount).to_bits());
        value.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).ok();
    }
}

/// Counts of observations in buckets, and their sum.
#[derive(FromPyObject)]
pub struct Histogram(Series, Vec<f64>);

impl Histogram {
    pub fn observe(&self, value: f64) {
        let Self(series, bounds) = self;
        series.add(bounds.partition_point(|bound| *bound < value), 1.0);
        series.add(bounds.len() + 1, value);
    }
}

/// The metrics of one method.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct MethodMetrics {
    started: Series,
    /// By code: OK, CANCELLED, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, INTERNAL.
    handled: [Series; 5],
    seconds: Histogram,
}

impl MethodMetrics {
    /// Counts a call that has ended.
    pub fn handled(&self, code: u32, duration: Duration) {
        const CODES: [Code; 5] =
            [Code::Ok, Code::Cancelled, Code::DeadlineExceeded, Code::ResourceExhausted, Code::Internal];
        self.started.add(0, 1.0);
        if let Some(index) = CODES.iter().position(|known| *known as u32 == code) {
            self.handled[index].add(0, 1.0);
        }
        self.seconds.observe(duration.as_secs_f64());
    }
}

/// Why a request was dropped before its inference.
#[derive(Clone, Copy)]
pub enum Dropped {
    Deadline,
    Cancelled,
    Overload,
}

/// The metrics of one model version.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct ModelMetrics {
    /// By label.
    texts: Vec<Series>,
    inference: Histogram,
    queue: Histogram,
    batch: Histogram,
    unknown: Histogram,
    probability: Histogram,
    /// By reason, in the order of `Dropped`.
    dropped: [Series; 3],
}

impl ModelMetrics {
    pub fn queued(&self, duration: Duration) {
        self.queue.observe(duration.as_secs_f64());
    }

    pub fn dropped(&self, reason: Dropped) {
        self.dropped[reason as usize].add(0, 1.0);
    }

    pub fn inferred(&self, texts: usize, duration: Duration) {
        self.batch.observe(texts as f64);
        self.inference.observe(duration.as_secs_f64());
    }

    /// Counts a text that has been classified.
    pub fn classified(&self, winner: usize, probability: f32, words: i32, known_words: i32) {
        if let Some(texts) = self.texts.get(winner) {
            texts.add(0, 1.0);
        }
        self.probability.observe(f64::from(probability));
        if words > 0 {
            self.unknown.observe(1.0 - f64::from(known_words) / f64::from(words));
        }
    }
}
