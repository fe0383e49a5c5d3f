//! `inference.ModelInferRequest` of the Open Inference Protocol and its response. The contract defines the field numbers.

use super::wire::{BYTES, Fields, Value, put_bytes, put_key, put_message, put_text, put_varint, text};
use crate::models::Version;
use crate::network::Prediction;

const TEXT: &[u8] = b"text";
const LENGTH_BYTES: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Output {
    Label,
    Probability,
    Probabilities,
}

const OUTPUTS: [Output; 3] = [Output::Label, Output::Probability, Output::Probabilities];

impl Output {
    fn name(self) -> &'static str {
        match self {
            Self::Label => "label",
            Self::Probability => "probability",
            Self::Probabilities => "probabilities",
        }
    }
}

/// A plain request.
#[derive(Debug, PartialEq)]
pub struct Request<'a> {
    pub model: &'a str,
    pub version: i64,
    pub id: &'a str,
    pub texts: Vec<&'a str>,
    pub outputs: Vec<Output>,
    /// Whether tensors are sent raw.
    pub raw: bool,
}

/// Reads a request of at most so many texts.
pub fn read(message: &[u8], max_texts: usize) -> Option<Request<'_>> {
    let mut request = Request { model: "", version: 0, id: "", texts: Vec::new(), outputs: Vec::new(), raw: false };
    let (mut input, mut raw) = (None, None);
    let mut fields = Fields(message);
    while !fields.is_empty() {
        match fields.next()? {
            (1, Value::Bytes(name)) => request.model = text(name)?,
            (2, Value::Bytes(number)) => request.version = version(number)?,
            (3, Value::Bytes(id)) => request.id = text(id)?,
            (5, Value::Bytes(tensor)) if input.is_none() => input = Some(read_input(tensor, max_texts)?),
            (6, Value::Bytes(output)) => request.outputs.push(read_output(output, &request.outputs)?),
            (7, Value::Bytes(bytes)) if raw.is_none() => raw = Some(bytes),
            _ => return None,
        }
    }
    let (count, contents) = input?;
    request.raw = raw.is_some();
    request.texts = match raw {
        Some(raw) if contents.is_empty() => split(raw, max_texts)?,
        Some(_) => return None,
        None => contents,
    };
    if request.outputs.is_empty() {
        request.outputs.extend(OUTPUTS);
    }
    (usize::try_from(count) == Ok(request.texts.len())).then_some(request)
}

/// Reads the model and the version by the beginning of a request, if they come before its tensor.
pub fn read_model(beginning: &[u8]) -> Option<(&str, i64)> {
    let (mut model, mut number) = (None, 0);
    let mut fields = Fields(beginning);
    loop {
        match fields.next() {
            Some((1, Value::Bytes(name))) => model = Some(text(name)?),
            Some((2, Value::Bytes(digits))) => number = version(digits)?,
            _ => return Some((model?, number)),
        }
    }
}

/// Reads a version, a positive number of up to 18 digits; empty: the version in service.
fn version(number: &[u8]) -> Option<i64> {
    if number.is_empty() {
        return Some(0);
    }
    let plain = number[0] != b'0' && number.len() <= 18 && number.iter().all(u8::is_ascii_digit);
    if plain { text(number)?.parse().ok() } else { None }
}

/// Reads the only tensor: the number of texts that its shape states, and its texts.
fn read_input(tensor: &[u8], max_texts: usize) -> Option<(i64, Vec<&str>)> {
    let (mut name, mut datatype) = (&b""[..], &b""[..]);
    let mut shape = Vec::new();
    let mut texts = Vec::new();
    let mut fields = Fields(tensor);
    while !fields.is_empty() {
        match fields.next()? {
            (1, Value::Bytes(bytes)) => name = bytes,
            (2, Value::Bytes(bytes)) => datatype = bytes,
            (3, Value::Varint(size)) => shape.push(size as i64),
            (3, Value::Bytes(packed)) => {
                let mut packed = Fields(packed);
                while !packed.is_empty() {
                    shape.push(packed.varint()? as i64);
                    if shape.len() > 2 {
                        return None;
                    }
                }
            }
            (5, Value::Bytes(contents)) => {
                let mut contents = Fields(contents);
                while !contents.is_empty() {
                    match contents.next()? {
                        (8, Value::Bytes(bytes)) if texts.len() < max_texts => texts.push(text(bytes)?),
                        _ => return None,
                    }
                }
            }
            _ => return None,
        }
        if shape.len() > 2 {
            return None;
        }
    }
    let plain = name == TEXT && datatype == b"BYTES" && matches!(shape[..], [_] | [_, 1]);
    plain.then(|| (shape[0], texts))
}

fn read_output(output: &[u8], before: &[Output]) -> Option<Output> {
    let mut fields = Fields(output);
    let (1, Value::Bytes(name)) = fields.next()? else { return None };
    let output = OUTPUTS.into_iter().find(|known| known.name().as_bytes() == name)?;
    (fields.is_empty() && !before.contains(&output)).then_some(output)
}

/// Splits raw BYTES into values. Each value follows its length, a little-endian number.
fn split(mut raw: &[u8], max_texts: usize) -> Option<Vec<&str>> {
    let mut texts = Vec::new();
    while !raw.is_empty() {
        let (length, rest) = raw.split_first_chunk::<LENGTH_BYTES>()?;
        let (bytes, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        if texts.len() == max_texts {
            return None;
        }
        texts.push(text(bytes)?);
        raw = rest;
    }
    Some(texts)
}

/// Writes the response.
pub fn write(buffer: &mut Vec<u8>, version: &Version, prediction: &Prediction, request: &Request<'_>) {
    put_text(buffer, 1, &version.name);
    put_bytes(buffer, 2, version.number.to_string().as_bytes());
    put_text(buffer, 3, request.id);
    for output in &request.outputs {
        put_message(buffer, 5, |buffer| put_tensor(buffer, *output, version, prediction, request.raw));
    }
    if request.raw {
        for output in &request.outputs {
            put_message(buffer, 6, |buffer| put_raw(buffer, *output, version, prediction));
        }
    }
}

fn put_tensor(buffer: &mut Vec<u8>, output: Output, version: &Version, prediction: &Prediction, raw: bool) {
    put_text(buffer, 1, output.name());
    put_text(buffer, 2, if output == Output::Label { "BYTES" } else { "FP32" });
    put_message(buffer, 3, |buffer| {
        put_varint(buffer, prediction.words.len() as u64);
        if output == Output::Probabilities {
            put_varint(buffer, prediction.classes as u64);
        }
    });
    if raw {
        return;
    }
    put_message(buffer, 5, |buffer| match output {
        Output::Label => {
            for (_, winner, ..) in prediction.rows() {
                put_bytes(buffer, 8, version.labels[winner].as_bytes());
            }
        }
        _ => {
            let floats = prediction.words.len() * if output == Output::Probability { 1 } else { prediction.classes };
            put_key(buffer, 6, BYTES);
            put_varint(buffer, (floats * size_of::<f32>()) as u64);
            put_raw(buffer, output, version, prediction);
        }
    });
}

fn put_raw(buffer: &mut Vec<u8>, output: Output, version: &Version, prediction: &Prediction) {
    for (probabilities, winner, ..) in prediction.rows() {
        match output {
            Output::Label => {
                let label = version.labels[winner].as_bytes();
                buffer.extend_from_slice(&(label.len() as u32).to_le_bytes());
                buffer.extend_from_slice(label);
            }
            Output::Probability => buffer.extend_from_slice(&probabilities[winner].to_le_bytes()),
            Output::Probabilities => {
                for probability in probabilities {
                    buffer.extend_from_slice(&probability.to_le_bytes());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INPUT: &[u8] = b"\x2a\x11\x0a\x04text\x12\x05BYTES\x1a\x02\x02\x01";

    #[test]
    fn a_plain_request_with_raw_contents_is_read() {
        let raw = b"\x3a\x0c\x04\x00\x00\x00film\x00\x00\x00\x00";
        let message = [&b"\x0a\x04imdb\x12\x012\x1a\x01x"[..], INPUT, b"\x32\x07\x0a\x05label", raw].concat();
        let expected = Request {
            model: "imdb",
            version: 2,
            id: "x",
            texts: vec!["film", ""],
            outputs: vec![Output::Label],
            raw: true,
        };
        assert_eq!(read(&message, 2), Some(expected));
        assert_eq!(read(&message, 1), None);
    }

    #[test]
    fn texts_that_are_not_as_many_as_the_shape_says_are_declined() {
        assert_eq!(read(&[INPUT, b"\x3a\x04\x00\x00\x00\x00"].concat(), 2), None);
        assert_eq!(read(&[INPUT, b"\x3a\x03\x00\x00\x00"].concat(), 2), None);
    }

    #[test]
    fn the_model_is_known_before_the_tensor_has_come() {
        assert_eq!(read_model(b"\x0a\x04imdb\x12\x012\x2a\xff\x01"), Some(("imdb", 2)));
        assert_eq!(read_model(b"\x0a\x04imdb\x12\x01x\x2a\xff\x01"), None);
        assert_eq!(read_model(INPUT), None);
    }

    #[test]
    fn versions_are_numbers_without_leading_zeros() {
        assert_eq!(version(b""), Some(0));
        assert_eq!(version(b"12"), Some(12));
        for number in [&b"0"[..], b"01", b"-1", b"1 ", b"1234567890123456789"] {
            assert_eq!(version(number), None);
        }
    }
}
