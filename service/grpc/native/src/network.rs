//! The compiled engine of `textmodel`, called without Python: see textmodel/native/network_api.h.

use std::ffi::{CStr, c_int, c_void};
use std::ptr::NonNull;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyCapsuleMethods};

const CAPSULE: &CStr = c"textmodel.NetworkApi";
const VERSION: u32 = 1;

#[repr(C)]
struct Text {
    utf8: *const u8,
    length: usize,
}

#[repr(C)]
struct Api {
    version: u32,
    classes: u32,
    network: *const c_void,
    classify: unsafe extern "C" fn(*const c_void, *const Text, usize, *mut f32, *mut i32, *mut i32) -> c_int,
}

/// The classification of texts.
pub struct Prediction {
    pub classes: usize,
    /// (texts, classes).
    pub probabilities: Vec<f32>,
    pub words: Vec<i32>,
    pub known_words: Vec<i32>,
}

impl Prediction {
    pub fn new(classes: usize, texts: usize) -> Self {
        Self { classes, probabilities: vec![0.0; texts * classes], words: vec![0; texts], known_words: vec![0; texts] }
    }

    /// Returns each text's probabilities, winning class, words and known words.
    pub fn rows(&self) -> impl Iterator<Item = (&[f32], usize, i32, i32)> {
        let rows = self.probabilities.chunks_exact(self.classes);
        let counts = self.words.iter().zip(&self.known_words);
        rows.zip(counts).map(|(row, (words, known_words))| (row, winner(row), *words, *known_words))
    }
}

/// The first class of the highest probability.
fn winner(probabilities: &[f32]) -> usize {
    let mut winner = 0;
    for (class, probability) in probabilities.iter().enumerate() {
        if *probability > probabilities[winner] {
            winner = class;
        }
    }
    winner
}

/// A network that Python has loaded and verified.
pub struct Network {
    api: NonNull<Api>,
    /// Keeps the network.
    _capsule: Py<PyAny>,
}

// SAFETY: the network does not change, and the header says that calls from several threads run at the same time.
unsafe impl Send for Network {}
// SAFETY: as above.
unsafe impl Sync for Network {}

impl<'py> FromPyObject<'_, 'py> for Network {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let api = object.cast::<PyCapsule>()?.pointer_checked(Some(CAPSULE))?.cast::<Api>();
        // SAFETY: a capsule of this name holds such a struct, whose first field is its version, as long as it lives.
        let version = unsafe { api.as_ref() }.version;
        if version != VERSION {
            return Err(PyValueError::new_err(format!("the network's interface has version {version}, not {VERSION}")));
        }
        Ok(Self { api, _capsule: object.to_owned().unbind() })
    }
}

impl Network {
    pub fn classes(&self) -> usize {
        // SAFETY: the capsule keeps the struct.
        unsafe { self.api.as_ref() }.classes as usize
    }

    /// Classifies texts into the rows of a prediction from `first` on. Tells whether there was memory for it.
    pub fn classify(&self, texts: &[&str], prediction: &mut Prediction, first: usize) -> bool {
        let borrowed: Vec<Text> = texts.iter().map(|text| Text { utf8: text.as_ptr(), length: text.len() }).collect();
        let classes = prediction.classes;
        assert_eq!(classes, self.classes());
        let rows = first..first + texts.len();
        let probabilities = &mut prediction.probabilities[first * classes..rows.end * classes];
        let (words, known_words) = (&mut prediction.words[rows.clone()], &mut prediction.known_words[rows]);
        // SAFETY: texts are valid UTF-8, and the slices have the rows that the header asks for.
        let result = unsafe {
            let api = self.api.as_ref();
            (api.classify)(
                api.network,
                borrowed.as_ptr(),
                borrowed.len(),
                probabilities.as_mut_ptr(),
                words.as_mut_ptr(),
                known_words.as_mut_ptr(),
            )
        };
        result == 0
    }
}
