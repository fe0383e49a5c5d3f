//! Answers plain requests for models of the compiled engine without Python. It declines all others, valid or not: the
//! handlers in Python get them unchanged.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use tokio::task::yield_now;

use crate::codec::{Message, encode_with};
use crate::limits::TURN_BYTES;
use crate::metadata;
use crate::metrics::MethodMetrics;
use crate::models::{Models, RequestLimits, Version};
use crate::network::Prediction;
use crate::protobuf::{classify, infer};
use crate::status::{Code, Status};
use crate::tokens::Tokens;

/// Bytes of a response beside its labels, for a text.
const RESPONSE_BYTES: usize = 48;
/// Capital sigma and dotted capital I, whose lower case depends on what is around them or has several characters.
const READ_BY_PYTHON: [&str; 2] = ["Σ", "İ"];

/// A method whose plain requests are answered here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Classify,
    ClassifyStream,
    ModelInfer,
}

impl Kind {
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "classify" => Some(Self::Classify),
            "classify-stream" => Some(Self::ClassifyStream),
            "infer" => Some(Self::ModelInfer),
            _ => None,
        }
    }
}

/// A method and its metrics.
pub struct FastMethod {
    pub kind: Kind,
    pub metrics: MethodMetrics,
}

/// The outcome of a request.
pub enum Outcome {
    /// The response with its prefix.
    Answered(Bytes),
    Refused(Status),
    Declined,
}

/// The methods and models that are answered here.
#[derive(Default)]
pub struct FastPath {
    pub methods: HashMap<usize, FastMethod>,
    pub limits: RequestLimits,
    pub models: Arc<ArcSwap<Models>>,
    /// The tokens that calls need; None: they need none.
    pub tokens: Arc<ArcSwapOption<Tokens>>,
    /// Whether calls have ids.
    pub request_ids: bool,
}

impl FastPath {
    /// Returns the method with this number, if a call of it with these headers may be answered here.
    pub fn method(&self, index: usize, headers: &HeaderMap) -> Option<&FastMethod> {
        let method = self.methods.get(&index)?;
        self.tokens.load().as_ref().is_none_or(|tokens| tokens.accept(headers)).then_some(method)
    }

    /// Returns the id of a call with these headers, if calls have ids.
    pub fn request_id(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        self.request_ids.then(|| metadata::request_id(headers))
    }

    /// Answers a request, refuses it because the queue is full, or declines it.
    pub async fn answer(&self, kind: Kind, message: &Message, request_id: Option<&HeaderValue>) -> Outcome {
        let Ok(message) = message.bytes() else { return Outcome::Declined };
        match kind {
            Kind::Classify | Kind::ClassifyStream => self.classify(&message, request_id).await,
            Kind::ModelInfer => self.infer(&message, request_id).await,
        }
    }

    /// Returns the refusal of an incomplete request, if the part that has been received names a model whose queue is full.
    pub fn refuse(&self, kind: Kind, length: usize, part: &[u8]) -> Option<Status> {
        let (name, number) = match kind {
            Kind::Classify | Kind::ClassifyStream => classify::read_model(part)?,
            Kind::ModelInfer => infer::read_model(part)?,
        };
        let version = self.find(name, number)?;
        (length > version.inline_bytes && version.is_full_for(length, &self.limits)).then(|| refusal(&version))
    }

    async fn classify(&self, message: &[u8], request_id: Option<&HeaderValue>) -> Outcome {
        let Some(request) = classify::read(message, self.limits.texts) else { return Outcome::Declined };
        let Some(version) = self.find(request.model, request.version) else { return Outcome::Declined };
        match self.predict(&version, &request.texts, request_id).await {
            Ok(prediction) => {
                let scores = request.top_k.min(version.labels.len());
                let capacity = request.texts.len() * (scores + 1) * RESPONSE_BYTES;
                Outcome::Answered(encode_with(capacity, |buffer| {
                    classify::write(buffer, &version, &prediction, request.top_k);
                }))
            }
            Err(outcome) => outcome,
        }
    }

    async fn infer(&self, message: &[u8], request_id: Option<&HeaderValue>) -> Outcome {
        let Some(request) = infer::read(message, self.limits.texts) else { return Outcome::Declined };
        let Some(version) = self.find(request.model, request.version) else { return Outcome::Declined };
        match self.predict(&version, &request.texts, request_id).await {
            Ok(prediction) => {
                let capacity = request.texts.len() * (RESPONSE_BYTES + prediction.classes * size_of::<f32>());
                Outcome::Answered(encode_with(capacity, |buffer| infer::write(buffer, &version, &prediction, &request)))
            }
            Err(outcome) => outcome,
        }
    }

    fn find(&self, name: &str, number: i64) -> Option<Arc<Version>> {
        self.models.load().find(name, number).cloned()
    }

    /// Classifies texts: at once if they are short, otherwise in their turn.
    async fn predict(
        &self,
        version: &Version,
        texts: &[&str],
        request_id: Option<&HeaderValue>,
    ) -> Result<Prediction, Outcome> {
        let bytes = texts.iter().map(|text| text.len()).sum();
        if texts.is_empty() || !texts.iter().all(|text| self.is_plain(version, text)) {
            return Err(Outcome::Declined);
        }
        let mut prediction = Prediction::new(version.network.classes(), texts.len());
        let arrived = Instant::now();
        let (queued, inferred) = if bytes <= version.inline_bytes {
            (Duration::ZERO, classify_turn(version, texts, &mut prediction, 0)?)
        } else {
            let Some(place) = version.queue(texts.len(), bytes, &self.limits) else {
                return Err(Outcome::Refused(refusal(version)));
            };
            let Some(_turn) = place.turn().await else { return Err(Outcome::Declined) };
            (arrived.elapsed(), classify_in_turns(version, texts, &mut prediction).await?)
        };
        version.metrics.queued(queued);
        version.metrics.inferred(texts.len(), inferred);
        for (probabilities, winner, words, known_words) in prediction.rows() {
            version.metrics.classified(winner, probabilities[winner], words, known_words);
        }
        if let Some(answers) = &version.answers {
            answers.get().put(texts, &prediction, request_id);
        }
        Ok(prediction)
    }

    /// Tells whether the engine reads a text unchanged. Python changes others first, so they are declined.
    fn is_plain(&self, version: &Version, text: &str) -> bool {
        text.len() <= self.limits.text_bytes.min(TURN_BYTES)
            && (version.reads_any_text
                || text.is_ascii()
                || !READ_BY_PYTHON.iter().any(|character| text.contains(character)))
    }
}

/// Classifies texts in parts of about half a millisecond, and yields to other calls in between.
async fn classify_in_turns(
    version: &Version,
    texts: &[&str],
    prediction: &mut Prediction,
) -> Result<Duration, Outcome> {
    let mut first = 0;
    let mut duration = Duration::ZERO;
    while first < texts.len() {
        let mut bytes = 0;
        let fitting = texts[first..].iter().take_while(|text| {
            bytes += text.len();
            bytes <= TURN_BYTES
        });
        let turn = fitting.count().max(1);
        duration += classify_turn(version, &texts[first..first + turn], prediction, first)?;
        first += turn;
        if first < texts.len() {
            yield_now().await;
        }
    }
    Ok(duration)
}

fn classify_turn(
    version: &Version,
    texts: &[&str],
    prediction: &mut Prediction,
    first: usize,
) -> Result<Duration, Outcome> {
    let start = Instant::now();
    if version.network.classify(texts, prediction, first) { Ok(start.elapsed()) } else { Err(Outcome::Declined) }
}

/// Counts a request that a version's queue has no room for, and returns its status.
fn refusal(version: &Version) -> Status {
    version.metrics.dropped_for_overload();
    overloaded(&version.overload)
}

/// Returns the status of a refusal from a serialized `google.rpc.Status`, which Python has written.
pub fn overloaded(details: &[u8]) -> Status {
    let mut status = Status::new(Code::ResourceExhausted, metadata::status_message(details).unwrap_or_default());
    if let Ok(details) = metadata::binary(details) {
        let details: HeaderValue = details;
        status.trailing.insert("grpc-status-details-bin", details);
    }
    status
}
