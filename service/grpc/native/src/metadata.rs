//! Metadata between HTTP/2's headers and Python's pairs of a key and a value.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::{HeaderMap, HeaderName, HeaderValue};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString, PyTuple};
use ring::rand::{SystemRandom, generate};

use crate::protobuf::wire::{Fields, Value, text};

/// gRPC's specification asks for unpadded values, and to take both.
static BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_encode_padding(false).with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The header with a call's id, which its trailing metadata return.
pub const REQUEST_ID: &str = "x-request-id";
const MAX_REQUEST_ID_BYTES: usize = 128;

const BINARY: &str = "-bin";
/// Headers that are the transport's own.
const RESERVED: [&str; 5] = ["content-type", "te", "grpc-timeout", "grpc-encoding", "grpc-accept-encoding"];

/// Makes Python's tuple of pairs: bytes for keys that end in -bin, text for others.
pub fn to_python<'py>(python: Python<'py>, headers: &HeaderMap) -> PyResult<Bound<'py, PyTuple>> {
    let mut pairs = Vec::with_capacity(headers.len());
    for (name, value) in headers {
        let name = name.as_str();
        if RESERVED.contains(&name) {
            continue;
        }
        if name.ends_with(BINARY) {
            for part in value.as_bytes().split(|byte| *byte == b',') {
                let decoded = BASE64.decode(part.trim_ascii());
                pairs.push((name, PyBytes::new(python, decoded.as_deref().unwrap_or(part)).into_any()));
            }
        } else {
            pairs.push((name, PyString::new(python, &String::from_utf8_lossy(value.as_bytes())).into_any()));
        }
    }
    PyTuple::new(python, pairs)
}

/// Reads pairs of a key and a value, str or bytes.
///
/// Raises ValueError if HTTP/2 cannot carry a pair.
pub fn from_python(pairs: &Bound<'_, PyAny>) -> PyResult<HeaderMap> {
    let mut headers = HeaderMap::new();
    for pair in pairs.try_iter()? {
        let (key, value): (String, Bound<'_, PyAny>) = pair?.extract()?;
        let raw = match value.cast::<PyBytes>() {
            Ok(bytes) => bytes.as_bytes().to_vec(),
            Err(_) => value.extract::<String>()?.into_bytes(),
        };
        let raw = if key.ends_with(BINARY) { BASE64.encode(raw).into_bytes() } else { raw };
        let name = HeaderName::from_bytes(key.as_bytes());
        match (name, HeaderValue::from_bytes(&raw)) {
            (Ok(name), Ok(value)) if !name.as_str().starts_with("grpc-") || name.as_str().ends_with(BINARY) => {
                headers.append(name, value);
            }
            _ => {
                return Err(PyValueError::new_err(format!("metadata {key:?}: HTTP/2 cannot carry this key and value")));
            }
        }
    }
    Ok(headers)
}

/// Returns a call's id: the client's if it is visible ASCII, otherwise a new one.
pub fn request_id(headers: &HeaderMap) -> HeaderValue {
    let given = headers.get_all(REQUEST_ID).iter().next_back();
    let valid = |id: &&HeaderValue| {
        (1..=MAX_REQUEST_ID_BYTES).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
    };
    given.filter(valid).cloned().unwrap_or_else(|| {
        let random: [u8; 16] = generate(&SystemRandom::new()).expect("the system gives random bytes").expose();
        let id = format!("{:032x}", u128::from_ne_bytes(random));
        HeaderValue::from_str(&id).expect("digits are a header's value")
    })
}

/// Writes the value of a key that ends in -bin.
pub fn binary(value: &[u8]) -> Result<HeaderValue, http::header::InvalidHeaderValue> {
    HeaderValue::from_str(&BASE64.encode(value))
}

/// Reads the message of a serialized `google.rpc.Status`, its second field.
pub fn status_message(status: &[u8]) -> Option<String> {
    let mut fields = Fields(status);
    while !fields.is_empty() {
        if let (2, Value::Bytes(message)) = fields.next()? {
            return text(message).map(String::from);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_has_the_id_of_its_client_if_that_is_visible_ascii() {
        let id = |given: &[u8]| {
            let given = HeaderValue::from_bytes(given).unwrap();
            request_id(&HeaderMap::from_iter([(HeaderName::from_static(REQUEST_ID), given)]))
        };
        let longest = [b'~'; MAX_REQUEST_ID_BYTES];
        for valid in [&b"!"[..], b"an-id", &longest] {
            assert_eq!(id(valid), valid);
        }
        for invalid in [&b""[..], b"an id", b"\xe9", &[b'x'; MAX_REQUEST_ID_BYTES + 1]] {
            let new = id(invalid);
            assert!(new.len() == 32 && new.as_bytes().iter().all(u8::is_ascii_hexdigit));
            assert_ne!(new, id(invalid));
        }
    }
}
