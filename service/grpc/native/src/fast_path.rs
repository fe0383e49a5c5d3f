//! Answers plain requests for models of the compiled engine without Python. It declines all others, valid or not: the
//! handlers in Python get them unchanged.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};

use crate::codec::{Message, encode_with};
use crate::limits::PART_BYTES;
use crate::metadata;
use crate::metrics::{Dropped, MethodMetrics};
use crate::models::{Models, Place, RequestLimits, Version};
use crate::network::Prediction;
use crate::overload::Overload;
use crate::protobuf::{classify, infer};
use crate::status::{Code, Status};
use crate::threads;
use crate::tokens::Tokens;

/// Bytes per text of a response, in addition to labels.
const RESPONSE_BYTES: usize = 48;
/// Capital sigma, whose lower case depends on its neighbours, and dotted capital I, whose lower case has two characters.
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

/// What comes with the message of a request.
pub struct Envelope<'a> {
    /// The request's place in the queue, if it has one already.
    pub place: Option<Place>,
    /// The call's id, if calls have ids.
    pub request_id: Option<&'a HeaderValue>,
    pub deadline: Option<Instant>,
}

/// The methods and models that are answered here.
#[derive(Default)]
pub struct FastPath {
    pub methods: HashMap<usize, FastMethod>,
    pub limits: RequestLimits,
    pub models: Arc<ArcSwap<Models>>,
    /// The accepted tokens; None: calls need no token.
    pub tokens: Arc<ArcSwapOption<Tokens>>,
    /// Whether calls have ids.
    pub request_ids: bool,
    pub overload: Overload,
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
    pub async fn answer(&self, kind: Kind, message: &Message, envelope: Envelope<'_>) -> Outcome {
        let Ok(message) = message.bytes() else { return Outcome::Declined };
        match kind {
            Kind::Classify | Kind::ClassifyStream => self.classify(&message, envelope).await,
            Kind::ModelInfer => self.infer(&message, envelope).await,
        }
    }

    /// Counts a request that is dropped because it arrived after its deadline.
    pub fn arrived_late(&self, kind: Kind, message: &Message) {
        if let Some(version) = message.bytes().ok().and_then(|message| self.named(kind, &message)) {
            version.metrics.dropped(Dropped::Deadline);
        }
    }

    /// Takes a place in the queue for a large request that has been received in part. None: its model is not known yet, or
    /// it needs no place. Refuses the request if there is no room.
    pub fn admit(&self, kind: Kind, length: usize, part: &[u8]) -> Result<Option<Place>, Status> {
        let Some(version) = self.named(kind, part).filter(|version| length > version.inline_bytes) else {
            return Ok(None);
        };
        version.queue_bytes(length, &self.limits).map(Some).ok_or_else(|| self.refusal(&version))
    }

    async fn classify(&self, message: &[u8], envelope: Envelope<'_>) -> Outcome {
        let Some(request) = classify::read(message, self.limits.texts) else { return Outcome::Declined };
        let Some(version) = self.find(request.model, request.version) else { return Outcome::Declined };
        let Some(thresholds) = request.thresholds(&version) else { return Outcome::Declined };
        match self.predict(&version, &request.texts, envelope).await {
            Ok(prediction) => {
                let scores = request.top_k.min(version.labels.len());
                let capacity = request.texts.len() * (scores + 1) * RESPONSE_BYTES;
                Outcome::Answered(encode_with(capacity, |buffer| {
                    classify::write(buffer, &version, &prediction, request.top_k, &thresholds);
                }))
            }
            Err(outcome) => outcome,
        }
    }

    async fn infer(&self, message: &[u8], envelope: Envelope<'_>) -> Outcome {
        let Some(request) = infer::read(message, self.limits.texts) else { return Outcome::Declined };
        let Some(version) = self.find(request.model, request.version) else { return Outcome::Declined };
        match self.predict(&version, &request.texts, envelope).await {
            Ok(prediction) => {
                let capacity = request.texts.len() * (RESPONSE_BYTES + prediction.classes * size_of::<f32>());
                Outcome::Answered(encode_with(capacity, |buffer| infer::write(buffer, &version, &prediction, &request)))
            }
            Err(outcome) => outcome,
        }
    }

    /// Returns the version that the beginning of a message names, if that is known yet.
    fn named(&self, kind: Kind, beginning: &[u8]) -> Option<Arc<Version>> {
        let (name, number) = match kind {
            Kind::Classify | Kind::ClassifyStream => classify::read_model(beginning),
            Kind::ModelInfer => infer::read_model(beginning),
        }?;
        self.find(name, number)
    }

    fn find(&self, name: &str, number: i64) -> Option<Arc<Version>> {
        self.models.load().find(name, number).cloned()
    }

    /// Classifies texts: short ones at once, others in turn.
    async fn predict(
        &self,
        version: &Arc<Version>,
        texts: &[&str],
        envelope: Envelope<'_>,
    ) -> Result<Prediction, Outcome> {
        let Envelope { place, request_id, deadline } = envelope;
        let bytes = texts.iter().map(|text| text.len()).sum();
        if texts.is_empty() || !texts.iter().all(|text| self.is_plain(version, text)) {
            return Err(Outcome::Declined);
        }
        let mut prediction = Prediction::new(version.network.classes(), texts.len());
        let arrived = Instant::now();
        let (queued, inferred) = if bytes <= version.inline_bytes {
            (Duration::ZERO, classify_part(version, texts, &mut prediction, 0)?)
        } else {
            let kept = place.and_then(|place| place.keep(version, texts.len(), bytes));
            let Some(place) = kept.or_else(|| version.queue(texts.len(), bytes, &self.limits)) else {
                return Err(Outcome::Refused(self.refusal(version)));
            };
            let Some(_turn) = version.turn(place, deadline).await else { return Err(Outcome::Declined) };
            (arrived.elapsed(), classify_in_parts(version, texts, &mut prediction).await?)
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

    /// Counts a request that a version's queue has no room for, and returns its status.
    fn refusal(&self, version: &Version) -> Status {
        self.overload.note();
        version.metrics.dropped(Dropped::Overload);
        overloaded(&version.overload)
    }

    /// Tells whether the engine reads a text unchanged. Other texts are declined, since Python must change them first.
    fn is_plain(&self, version: &Version, text: &str) -> bool {
        text.len() <= self.limits.text_bytes.min(PART_BYTES)
            && (version.reads_any_text
                || text.is_ascii()
                || !READ_BY_PYTHON.iter().any(|character| text.contains(character)))
    }
}

/// Classifies texts in parts, and pauses for other calls in between.
async fn classify_in_parts(
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
            bytes <= PART_BYTES
        });
        let part = fitting.count().max(1);
        threads::pause_after_turn().await;
        duration += classify_part(version, &texts[first..first + part], prediction, first)?;
        first += part;
    }
    Ok(duration)
}

fn classify_part(
    version: &Version,
    texts: &[&str],
    prediction: &mut Prediction,
    first: usize,
) -> Result<Duration, Outcome> {
    let start = Instant::now();
    if version.network.classify(texts, prediction, first) { Ok(start.elapsed()) } else { Err(Outcome::Declined) }
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
