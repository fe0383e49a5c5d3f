//! `text_classifier.v1.ClassifyRequest` and its response. The contract defines the field numbers.

use super::wire::{Fields, Value, put_bytes, put_float, put_message, put_number, put_text, text};
use crate::models::Version;
use crate::network::Prediction;

/// A plain request.
#[derive(Debug, PartialEq)]
pub struct Request<'a> {
    pub model: &'a str,
    pub version: i64,
    pub texts: Vec<&'a str>,
    pub top_k: usize,
    /// Answers with a lower probability are marked; 0: none.
    pub min_probability: f32,
    /// Whether answers below the version's thresholds are marked too.
    pub use_thresholds: bool,
}

impl Request<'_> {
    /// Returns, for each label, the probability below which answers are marked; empty: no answers are marked. None: the
    /// request needs thresholds, which the version lacks.
    pub fn thresholds(&self, version: &Version) -> Option<Vec<f64>> {
        let lowest = f64::from(self.min_probability);
        if self.use_thresholds {
            Some(version.thresholds.as_ref()?.iter().map(|threshold| threshold.max(lowest)).collect())
        } else {
            Some(if lowest > 0.0 { vec![lowest; version.labels.len()] } else { Vec::new() })
        }
    }
}

/// Reads a request of at most so many texts.
pub fn read(message: &[u8], max_texts: usize) -> Option<Request<'_>> {
    let mut request =
        Request { model: "", version: 0, texts: Vec::new(), top_k: 0, min_probability: 0.0, use_thresholds: false };
    let mut fields = Fields(message);
    while !fields.is_empty() {
        match fields.next()? {
            (1, Value::Bytes(name)) => request.model = text(name)?,
            (2, Value::Varint(version)) => request.version = version as i64,
            (3, Value::Bytes(bytes)) if request.texts.len() < max_texts => request.texts.push(text(bytes)?),
            (4, Value::Varint(top_k)) => request.top_k = usize::try_from(top_k as i32).ok()?,
            (5, Value::Varint(0)) => {}
            (6, Value::Float(probability)) => request.min_probability = probability,
            (7, Value::Varint(wanted)) => request.use_thresholds = wanted != 0,
            _ => return None,
        }
    }
    (0.0..=1.0).contains(&request.min_probability).then_some(request)
}

/// Reads the model and the version by the beginning of a request, if they come before its texts.
pub fn read_model(beginning: &[u8]) -> Option<(&str, i64)> {
    let (mut model, mut number) = (None, 0);
    let mut fields = Fields(beginning);
    loop {
        match fields.next() {
            Some((1, Value::Bytes(name))) => model = Some(text(name)?),
            Some((2, Value::Varint(version))) => number = version as i64,
            _ => return Some((model?, number)),
        }
    }
}

/// Writes the response. Answers below their label's threshold are marked.
pub fn write(buffer: &mut Vec<u8>, version: &Version, prediction: &Prediction, top_k: usize, thresholds: &[f64]) {
    put_text(buffer, 1, &version.name);
    put_number(buffer, 2, version.number);
    for (probabilities, winner, words, known_words) in prediction.rows() {
        put_message(buffer, 3, |buffer| {
            put_text(buffer, 1, &version.labels[winner]);
            put_float(buffer, 2, probabilities[winner]);
            if top_k > 0 {
                put_scores(buffer, &version.labels, probabilities, top_k);
            }
            put_number(buffer, 4, i64::from(words));
            put_number(buffer, 5, i64::from(known_words));
            let abstains =
                thresholds.get(winner).is_some_and(|threshold| f64::from(probabilities[winner]) < *threshold);
            put_number(buffer, 7, i64::from(abstains));
        });
    }
}

/// Writes the labels with the highest probabilities. Of equal probabilities, the first class comes first.
fn put_scores(buffer: &mut Vec<u8>, labels: &[String], probabilities: &[f32], top_k: usize) {
    let mut order: Vec<usize> = (0..probabilities.len()).collect();
    order.sort_by(|left, right| probabilities[*right].total_cmp(&probabilities[*left]));
    for class in order.into_iter().take(top_k) {
        let mut score = Vec::with_capacity(32);
        put_text(&mut score, 1, &labels[class]);
        put_float(&mut score, 2, probabilities[class]);
        put_bytes(buffer, 3, &score);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_request_is_read() {
        let message = b"\x0a\x04imdb\x10\x02\x1a\x04film\x1a\x00\x20\x03\x35\x00\x00\x00\x3f\x38\x01";
        let expected = Request {
            model: "imdb",
            version: 2,
            texts: vec!["film", ""],
            top_k: 3,
            min_probability: 0.5,
            use_thresholds: true,
        };
        assert_eq!(read(message, 2), Some(expected));
    }

    #[test]
    fn the_model_is_known_before_the_texts_have_come() {
        assert_eq!(read_model(b"\x0a\x04imdb\x10\x02\x1a\xff\x01film"), Some(("imdb", 2)));
        assert_eq!(read_model(b"\x0a\x04imdb\x1a\x04fi"), Some(("imdb", 0)));
        assert_eq!(read_model(b"\x0a\x04im"), None);
        assert_eq!(read_model(b"\x1a\x04film\x0a\x04imdb"), None);
    }

    #[test]
    fn what_is_not_plain_is_declined() {
        for message in [
            &b"\x28\x01"[..],               // explain
            b"\x20\xff\xff\xff\xff\x0f",    // top_k -1
            b"\x1a\x01a\x1a\x01b\x1a\x01c", // three texts
            b"\x1a\x01\xff",                // no UTF-8
            b"\x35\x00\x00\x00\x40",        // min_probability 2
            b"\x35\x00\x00\xc0\x7f",        // no number
            b"\x40\x01",                    // an unknown field
            b"\x08\x01",                    // another type
        ] {
            assert_eq!(read(message, 2), None, "{message:?}");
        }
    }
}
