//! The model versions that are answered without Python, as the repository publishes them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pyo3::prelude::*;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::answers::AnswerQueue;
use crate::metrics::ModelMetrics;
use crate::network::Network;
use crate::threads;

/// One version of a model. It lives until its last call has ended.
pub struct Version {
    pub name: String,
    pub number: i64,
    pub labels: Vec<String>,
    /// Bytes of text that are classified at once.
    pub inline_bytes: usize,
    /// Whether the network reads any text, or only those without the characters that are left to Python.
    pub reads_any_text: bool,
    pub network: Network,
    pub metrics: ModelMetrics,
    /// The serialized `google.rpc.Status` of a request for which the queue has no room.
    pub overload: Vec<u8>,
    /// Where its answers go for Python; None: nowhere.
    pub answers: Option<Py<AnswerQueue>>,
    queue: Queue,
}

/// What Python gives for a version.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct Publication {
    name: String,
    number: i64,
    in_service: bool,
    labels: Vec<String>,
    inline_bytes: usize,
    reads_any_text: bool,
    network: Network,
    metrics: ModelMetrics,
    overload: Vec<u8>,
    answers: Option<Py<AnswerQueue>>,
}

/// All versions.
#[derive(Default)]
pub struct Models(HashMap<String, Model>);

#[derive(Default)]
struct Model {
    in_service: Option<Arc<Version>>,
    versions: HashMap<i64, Arc<Version>>,
}

impl Models {
    /// Makes the table for so many threads.
    ///
    /// # Errors
    /// Names the version whose labels are not as many as its network's classes.
    pub fn new(publications: Vec<Publication>, threads: usize) -> Result<Self, String> {
        let mut models: HashMap<String, Model> = HashMap::new();
        for publication in publications {
            let Publication {
                name,
                number,
                in_service,
                labels,
                inline_bytes,
                reads_any_text,
                network,
                metrics,
                overload,
                answers,
            } = publication;
            let model = models.entry(name.clone()).or_default();
            if labels.len() != network.classes() {
                let (labels, classes) = (labels.len(), network.classes());
                return Err(format!("{name}/{number}: has {labels} labels for {classes} classes"));
            }
            let queue = Queue::new(threads);
            let version = Arc::new(Version {
                name,
                number,
                labels,
                inline_bytes,
                reads_any_text,
                network,
                metrics,
                overload,
                answers,
                queue,
            });
            if in_service {
                model.in_service = Some(Arc::clone(&version));
            }
            model.versions.insert(number, version);
        }
        Ok(Self(models))
    }

    /// Finds a version by its number; 0: the one in service.
    pub fn find(&self, name: &str, number: i64) -> Option<&Arc<Version>> {
        let model = self.0.get(name)?;
        if number == 0 { model.in_service.as_ref() } else { model.versions.get(&number) }
    }
}

/// What may wait for one model, and how much is answered at once.
#[derive(Clone, Copy, Debug, Default, FromPyObject)]
#[pyo3(from_item_all)]
pub struct RequestLimits {
    pub texts: usize,
    pub text_bytes: usize,
    pub queue_texts: usize,
    pub queue_bytes: usize,
}

/// The requests of one model that wait: each thread classifies large ones one at a time.
struct Queue {
    turns: Vec<Semaphore>,
    texts: AtomicUsize,
    bytes: AtomicUsize,
}

impl Queue {
    fn new(threads: usize) -> Self {
        let turns = (0..threads).map(|_| Semaphore::new(1)).collect();
        Self { turns, texts: AtomicUsize::new(0), bytes: AtomicUsize::new(0) }
    }
}

/// A request's place in the queue.
pub struct Place<'a> {
    queue: &'a Queue,
    texts: usize,
    bytes: usize,
}

impl Version {
    /// Tells whether the queue has no room for a request of which only the size is known. Its number of texts is estimated
    /// from the requests in the queue.
    pub fn is_full_for(&self, bytes: usize, limits: &RequestLimits) -> bool {
        let queue = &self.queue;
        let (waiting, held) = (queue.texts.load(Ordering::Relaxed), queue.bytes.load(Ordering::Relaxed));
        let texts = waiting.saturating_mul(bytes) / held.max(1);
        waiting > 0 && (waiting + texts > limits.queue_texts || held + bytes > limits.queue_bytes)
    }

    /// Takes a place in the queue, if there is room or nobody waits.
    pub fn queue(&self, texts: usize, bytes: usize, limits: &RequestLimits) -> Option<Place<'_>> {
        let queue = &self.queue;
        let texts_waiting = queue.texts.load(Ordering::Relaxed);
        let full = texts_waiting + texts > limits.queue_texts
            || queue.bytes.load(Ordering::Relaxed) + bytes > limits.queue_bytes;
        if full && texts_waiting > 0 {
            return None;
        }
        queue.texts.fetch_add(texts, Ordering::Relaxed);
        queue.bytes.fetch_add(bytes, Ordering::Relaxed);
        Some(Place { queue, texts, bytes })
    }
}

impl<'a> Place<'a> {
    /// Waits for the request's turn, which lasts until the permit is dropped. The place in the queue is free from then on.
    pub async fn turn(self) -> Option<SemaphorePermit<'a>> {
        self.queue.turns[threads::number()].acquire().await.ok()
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.queue.texts.fetch_sub(self.texts, Ordering::Relaxed);
        self.queue.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
