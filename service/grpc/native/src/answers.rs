//! Sent answers, for Python to process later. They wait in a bounded queue. No call waits for it: answers that do not
//! fit are dropped and counted.

use std::collections::VecDeque;
use std::iter::repeat_n;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::HeaderValue;
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::bridge::{Bridge, Event};
use crate::network::Prediction;
use crate::random;
use crate::threads::Idleness;

/// A request's texts and their answers.
struct Answered {
    /// All texts, one after another.
    texts: String,
    rows: Vec<Row>,
    request_id: Option<HeaderValue>,
}

/// Where a text ends, and its most probable class.
struct Row {
    end: usize,
    winner: usize,
    probability: f32,
}

impl Answered {
    fn new(texts: &[&str], prediction: &Prediction, request_id: Option<&HeaderValue>) -> Self {
        let mut end = 0;
        let rows = texts.iter().zip(prediction.rows()).map(|(text, (probabilities, winner, ..))| {
            end += text.len();
            Row { end, winner, probability: probabilities[winner] }
        });
        Self { rows: rows.collect(), texts: texts.concat(), request_id: request_id.cloned() }
    }

    fn texts(&self) -> impl Iterator<Item = &str> {
        let starts = std::iter::once(0).chain(self.rows.iter().map(|row| row.end));
        starts.zip(&self.rows).map(|(start, row)| &self.texts[start..row.end])
    }
}

/// A bounded queue of answers.
struct Queue {
    /// The share of requests that are sampled.
    share: f64,
    max_texts: usize,
    max_bytes: usize,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    answers: VecDeque<Answered>,
    texts: usize,
    bytes: usize,
    /// Number of texts that did not fit.
    dropped: usize,
    /// Whether an answer has been put in since the queue was last seen empty.
    announced: bool,
}

impl Queue {
    fn new(share: f64, max_texts: usize, max_bytes: usize) -> Self {
        Self { share, max_texts, max_bytes, waiting: Mutex::default() }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts an answer in if it is sampled and there is room. An empty queue accepts an answer of any size. Tells whether
    /// it is the first answer since the queue was last seen empty.
    fn put(&self, texts: &[&str], prediction: &Prediction, request_id: Option<&HeaderValue>) -> bool {
        if !is_sampled(self.share) {
            return false;
        }
        let bytes: usize = texts.iter().map(|text| text.len()).sum();
        let mut waiting = self.waiting();
        let full = waiting.texts + texts.len() > self.max_texts || waiting.bytes + bytes > self.max_bytes;
        if full && !waiting.answers.is_empty() {
            waiting.dropped += texts.len();
            return false;
        }
        waiting.texts += texts.len();
        waiting.bytes += bytes;
        waiting.answers.push_back(Answered::new(texts, prediction, request_id));
        !std::mem::replace(&mut waiting.announced, true)
    }

    /// Takes the oldest answers, with at most this number of texts. An answer with more texts is taken alone.
    fn take(&self, max_texts: usize) -> Vec<Answered> {
        let mut waiting = self.waiting();
        let mut taken = Vec::new();
        let mut texts = 0;
        while let Some(next) = waiting.answers.pop_front() {
            if texts > 0 && texts + next.rows.len() > max_texts {
                waiting.answers.push_front(next);
                break;
            }
            texts += next.rows.len();
            waiting.bytes -= next.texts.len();
            taken.push(next);
        }
        waiting.texts -= texts;
        taken
    }

    /// Tells whether the queue is empty. If it is, the next answer is announced.
    fn is_empty(&self) -> bool {
        let mut waiting = self.waiting();
        waiting.announced = !waiting.answers.is_empty();
        !waiting.announced
    }
}

/// Chooses at random.
fn is_sampled(share: f64) -> bool {
    share >= 1.0 || random::fraction() < share
}

/// The answers of one version that wait for Python.
#[pyclass(frozen, module = "service.grpc._native_server")]
pub struct AnswerQueue {
    queue: Queue,
    bridge: Arc<Bridge>,
    /// What Python calls when there are answers.
    wake: Arc<Py<PyAny>>,
    idleness: Arc<Idleness>,
    /// The threads' idleness when it was last checked.
    seen: Mutex<Vec<u64>>,
}

impl AnswerQueue {
    pub fn new(
        (share, max_texts, max_bytes): (f64, usize, usize),
        wake: Py<PyAny>,
        bridge: &Arc<Bridge>,
        idleness: &Arc<Idleness>,
    ) -> Self {
        Self {
            queue: Queue::new(share, max_texts, max_bytes),
            bridge: Arc::clone(bridge),
            wake: Arc::new(wake),
            idleness: Arc::clone(idleness),
            seen: Mutex::default(),
        }
    }

    /// Puts an answer in, and wakes Python if need be.
    pub fn put(&self, texts: &[&str], prediction: &Prediction, request_id: Option<&HeaderValue>) {
        if self.queue.put(texts, prediction, request_id) {
            self.bridge.push(Event::Answered(Arc::clone(&self.wake)));
        }
    }
}

/// Texts, and of each the most probable class, its probability and the request's id.
type Texts<'py> = (Vec<Bound<'py, PyString>>, Vec<usize>, Vec<f32>, Vec<Bound<'py, PyString>>);

#[pymethods]
impl AnswerQueue {
    /// Takes the oldest answers, with at most this number of texts.
    fn take<'py>(&self, python: Python<'py>, max_texts: usize) -> Texts<'py> {
        let mut texts = Texts::default();
        for answered in self.queue.take(max_texts) {
            let id = answered.request_id.as_ref().and_then(|id| id.to_str().ok()).unwrap_or_default();
            texts.0.extend(answered.texts().map(|text| PyString::new(python, text)));
            texts.1.extend(answered.rows.iter().map(|row| row.winner));
            texts.2.extend(answered.rows.iter().map(|row| row.probability));
            texts.3.extend(repeat_n(PyString::new(python, id), answered.rows.len()));
        }
        texts
    }

    /// Returns the number of texts that were dropped since the last call.
    fn take_dropped(&self) -> usize {
        std::mem::take(&mut self.queue.waiting().dropped)
    }

    /// Tells whether the queue is empty. If it is, the next answer wakes Python.
    fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Tells whether each of the server's threads has been idle at some time since the last call.
    fn threads_were_idle(&self) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        self.idleness.since(&mut seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Puts an answer of so many texts of four bytes in.
    fn put(queue: &Queue, texts: usize) -> bool {
        let mut prediction = Prediction::new(2, texts);
        prediction.probabilities.fill(0.5);
        queue.put(&vec!["film"; texts], &prediction, None)
    }

    fn taken(queue: &Queue, max_texts: usize) -> Vec<usize> {
        queue.take(max_texts).iter().map(|answered| answered.rows.len()).collect()
    }

    #[test]
    fn answers_are_kept_with_their_texts_in_order() {
        let queue = Queue::new(1.0, 10, 100);
        let mut prediction = Prediction::new(2, 3);
        prediction.probabilities = vec![0.25, 0.75, 0.5, 0.5, 1.0, 0.0];
        queue.put(&["eins", "", "zwölf"], &prediction, Some(&HeaderValue::from_static("x")));
        let answered = queue.take(10).pop().unwrap();
        assert_eq!(answered.texts().collect::<Vec<_>>(), ["eins", "", "zwölf"]);
        let rows: Vec<_> = answered.rows.iter().map(|row| (row.winner, row.probability)).collect();
        assert_eq!(rows, [(1, 0.75), (0, 0.5), (0, 1.0)]);
        assert_eq!(answered.request_id.unwrap(), "x");
    }

    #[test]
    fn answers_without_room_are_dropped_and_counted() {
        for queue in [Queue::new(1.0, 5, 100), Queue::new(1.0, 100, 20)] {
            put(&queue, 3);
            put(&queue, 3);
            put(&queue, 2);
            assert_eq!(queue.waiting().dropped, 3);
            assert_eq!(taken(&queue, 10), [3, 2]);
            put(&queue, 6); // an empty queue takes even what is larger
            assert_eq!(taken(&queue, 1), [6]);
            assert_eq!(queue.waiting().dropped, 3);
        }
    }

    #[test]
    fn what_is_taken_has_at_most_so_many_texts_or_is_one_answer() {
        let queue = Queue::new(1.0, 100, 1000);
        for texts in [5, 1, 1, 2, 1] {
            put(&queue, texts);
        }
        assert_eq!(
            [taken(&queue, 3), taken(&queue, 3), taken(&queue, 3), taken(&queue, 3)],
            [vec![5], vec![1, 1], vec![2, 1], vec![]]
        );
    }

    #[test]
    fn the_first_answer_since_the_queue_was_seen_empty_is_announced() {
        let queue = Queue::new(1.0, 100, 1000);
        assert!(put(&queue, 1) && !put(&queue, 1));
        assert!(!queue.is_empty() && !put(&queue, 1));
        taken(&queue, 10);
        assert!(!put(&queue, 1));
        taken(&queue, 10);
        assert!(queue.is_empty() && put(&queue, 1));
    }

    #[test]
    fn the_share_samples_answers() {
        let sampled = |share| (0..1000).filter(|_| is_sampled(share)).count();
        assert_eq!((sampled(0.0), sampled(1.0)), (0, 1000));
        assert!((200..300).contains(&sampled(0.25)));
    }
}
