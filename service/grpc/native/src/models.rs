//! The model versions that are answered without Python, as the repository publishes them.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::answers::AnswerQueue;
use crate::metrics::{Dropped, ModelMetrics};
use crate::network::Network;
use crate::threads;

/// A call that ends at most this time before its deadline ends because of it: the client has measured the time from an
/// earlier moment, and gRPC rounds timeouts up.
const BEFORE_DEADLINE: Duration = Duration::from_millis(100);

/// The description of a version that Python passes.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct Publication {
    pub name: String,
    pub number: i64,
    in_service: bool,
    pub labels: Vec<String>,
    /// Bytes of text that are classified at once.
    pub inline_bytes: usize,
    /// Whether the network reads any text, or only those without the characters that are left to Python.
    pub reads_any_text: bool,
    /// The probability from which each label is right with the target precision of the training.
    pub thresholds: Option<Vec<f64>>,
    pub network: Network,
    pub metrics: ModelMetrics,
    /// The serialized `google.rpc.Status` of a request for which the queue has no room.
    pub overload: Vec<u8>,
    /// The queue that passes its answers to Python, if there is one.
    pub answers: Option<Py<AnswerQueue>>,
}

/// One version of a model. It lives until its last call has ended.
pub struct Version {
    published: Publication,
    queue: Queue,
}

impl Deref for Version {
    type Target = Publication;

    fn deref(&self) -> &Publication {
        &self.published
    }
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
    /// Makes the table for this number of threads.
    ///
    /// # Errors
    /// Names a version whose number of labels is not that of its network's classes.
    pub fn new(publications: Vec<Publication>, threads: usize) -> Result<Self, String> {
        let mut models: HashMap<String, Model> = HashMap::new();
        for publication in publications {
            let Publication { name, number, labels, network, .. } = &publication;
            if labels.len() != network.classes() {
                let (labels, classes) = (labels.len(), network.classes());
                return Err(format!("{name}/{number}: has {labels} labels for {classes} classes"));
            }
            let model = models.entry(name.clone()).or_default();
            let version = Arc::new(Version { published: publication, queue: Queue::new(threads) });
            if version.in_service {
                model.in_service = Some(Arc::clone(&version));
            }
            model.versions.insert(version.number, version);
        }
        Ok(Self(models))
    }

    /// Finds a version by its number; 0: the one in service.
    pub fn find(&self, name: &str, number: i64) -> Option<&Arc<Version>> {
        let model = self.0.get(name)?;
        if number == 0 { model.in_service.as_ref() } else { model.versions.get(&number) }
    }
}

/// The limits of a model's queue, and of a request that is answered at once.
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
    /// The mean size of a text in the request that was queued last.
    text_bytes: AtomicUsize,
}

impl Queue {
    fn new(threads: usize) -> Self {
        let turns = (0..threads).map(|_| Semaphore::new(1)).collect();
        let (texts, bytes, text_bytes) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(usize::MAX));
        Self { turns, texts, bytes, text_bytes }
    }
}

/// A request's place in a version's queue. Dropping it frees the place.
pub struct Place {
    version: Arc<Version>,
    texts: usize,
    bytes: usize,
}

impl Version {
    /// Takes a place in the queue, if there is room or nobody waits.
    pub fn queue(self: &Arc<Self>, texts: usize, bytes: usize, limits: &RequestLimits) -> Option<Place> {
        let queue = &self.queue;
        let texts_waiting = queue.texts.load(Ordering::Relaxed);
        let full = texts_waiting + texts > limits.queue_texts
            || queue.bytes.load(Ordering::Relaxed) + bytes > limits.queue_bytes;
        if full && texts_waiting > 0 {
            return None;
        }
        queue.texts.fetch_add(texts, Ordering::Relaxed);
        queue.bytes.fetch_add(bytes, Ordering::Relaxed);
        Some(Place { version: Arc::clone(self), texts, bytes })
    }

    /// Takes a place for a request of which only the size is known. Its texts are assumed to be as long as those of the
    /// previous request.
    pub fn queue_bytes(self: &Arc<Self>, bytes: usize, limits: &RequestLimits) -> Option<Place> {
        let texts = bytes / self.queue.text_bytes.load(Ordering::Relaxed);
        self.queue(texts.max(1), bytes, limits)
    }

    /// Waits for the turn of a request, which lasts until the permit is dropped. Its place in the queue is free from then on.
    /// Counts a request that no longer waits before it has its turn.
    pub async fn turn(&self, place: Place, deadline: Option<Instant>) -> Option<SemaphorePermit<'_>> {
        let mut waiting = Waiting { metrics: &self.metrics, deadline, over: false };
        let turn = self.queue.turns[threads::number()].acquire().await.ok();
        waiting.over = true;
        drop(place);
        turn
    }
}

/// A request that waits for its turn. Dropping this before the wait ends counts a dropped request.
struct Waiting<'a> {
    metrics: &'a ModelMetrics,
    deadline: Option<Instant>,
    over: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.over {
            let late = self.deadline.is_some_and(|deadline| deadline <= Instant::now() + BEFORE_DEADLINE);
            self.metrics.dropped(if late { Dropped::Deadline } else { Dropped::Cancelled });
        }
    }
}

impl Place {
    /// Keeps the place for a request of a version, whose size is known now; None: the place is in another queue.
    pub fn keep(mut self, version: &Arc<Version>, texts: usize, bytes: usize) -> Option<Self> {
        if !Arc::ptr_eq(&self.version, version) {
            return None;
        }
        let queue = &version.queue;
        queue.texts.fetch_add(texts, Ordering::Relaxed);
        queue.bytes.fetch_add(bytes, Ordering::Relaxed);
        queue.text_bytes.store((bytes / texts).max(1), Ordering::Relaxed);
        self.leave();
        (self.texts, self.bytes) = (texts, bytes);
        Some(self)
    }

    fn leave(&self) {
        self.version.queue.texts.fetch_sub(self.texts, Ordering::Relaxed);
        self.version.queue.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.leave();
    }
}
