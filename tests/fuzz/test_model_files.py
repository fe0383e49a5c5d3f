"""Files of a version that are damaged or made up: refused with one kind of error, or the probes are answered."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from tests.tiny_model import write_model
from textmodel import ModelError, weights
from textmodel.loading import load_engine
from textmodel.metadata import CharacterNGrams, HashedNGrams, NGrams

Files = dict[str, bytes]
"""Contents by path in the version folder."""
FUZZ = settings(settings.get_profile("fuzz"))
METADATA, PROBES = "assets.extra/metadata.json", "assets.extra/probes.jsonl"
VOCABULARY, LABELS = "assets/vocabulary.txt", "assets/labels.txt"
SAVED_MODEL = "saved_model.pb"
WEIGHTS = f"assets.extra/{weights.WEIGHTS_FILE}"
HASHED = HashedNGrams(2, CharacterNGrams(2, 3, across_words=True), 256, 200, "log", normalize=True)
CHECKPOINT = ("variables/variables.index", "variables/variables.data-00000-of-00001")
FILES = (METADATA, PROBES, VOCABULARY, LABELS, SAVED_MODEL, WEIGHTS, *CHECKPOINT)


@pytest.fixture(scope="session", params=["multi-hot", "ngrams", "hashed"])
def original(request: pytest.FixtureRequest, tiny_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Files:
    """The files of a version that is in order, with each vectorizer that the compiled engine knows."""
    if request.param == "ngrams":
        models = tmp_path_factory.mktemp("models")
        folder = write_model(models, "test", vectorizer=lambda size: NGrams(size, 3, 64, "log", normalize=True)).path
    elif request.param == "hashed":
        models = tmp_path_factory.mktemp("models")
        folder = write_model(models, "test", vectorizer=lambda _: HASHED, tokenization="unicode").path
    else:
        folder = tiny_models / "topic" / "1"
    files = {name: (folder / name).read_bytes() for name in FILES if (folder / name).exists()}
    metadata = json.loads(files[METADATA])
    del metadata["sha256"]  # it would refuse every change before the file's own reader does
    return {**files, METADATA: json.dumps(metadata).encode()}


@pytest.fixture(scope="session")
def version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to be filled anew with each example's files."""
    return tmp_path_factory.mktemp("version")


_written: dict[Path, bytes] = {}
"""The files that are there. Most stay from one example to the next, and disks may take long for each."""


def load(version: Path, files: Files) -> bool:
    """Tells whether a version with these files loads. Loading has it answer its probes; all else is `ModelError`."""
    for path, contents in ((version / name, contents) for name, contents in files.items()):
        if _written.get(path) != contents:
            path.parent.mkdir(exist_ok=True)
            path.unlink(missing_ok=True)  # a file system may wait for the disk where contents are replaced
            path.write_bytes(contents)
            _written[path] = contents
    try:
        engine = load_engine(version, "compiled")
    except ModelError:
        return False
    assert np.isfinite(engine.classify(["a moving film", "\0", ""]).probabilities).all()
    return True


TOKENS = st.sampled_from(
    [
        *(b"\n", b"\r", b"\0", b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xef\xbb\xbf", b" ", b"[PADDING]"),
        *(b"NaN", b"Infinity", b"-1", b"1e999", b"0.5", b"null", b"true", b'""', b'"\\ud800"', b"9" * 5000),
        *(b"[" * 100_000, b'{"a":' * 100_000, b"\x80" * 20, b"\xff" * 9 + b"\x01"),
    ]
)
CHANGES = st.lists(
    st.tuples(
        st.integers(0, 1 << 20),  # where, modulo the length
        st.one_of(st.just(0), st.just(1), st.integers(0, 64), st.just(1 << 20)),  # bytes that go
        st.one_of(st.just(b""), st.binary(max_size=8), TOKENS),  # bytes that come
    ),
    min_size=1,
    max_size=4,
)


def changed(contents: bytes, changes: list[tuple[int, int, bytes]]) -> bytes:
    for where, gone, put in changes:
        at = where % (len(contents) + 1)
        contents = contents[:at] + put + contents[at + gone :]
    return contents


def test_the_files_as_they_are_load(version: Path, original: Files) -> None:
    assert load(version, original)


@pytest.mark.parametrize("name", FILES)
@FUZZ
@given(changes=CHANGES)
def test_a_file_with_changed_bytes_is_refused_or_answers_the_probes(
    version: Path, original: Files, tried: Counter[str], name: str, changes: list[tuple[int, int, bytes]]
) -> None:
    if name in original:  # hashed n-grams have no vocabulary
        load(version, {**original, name: changed(original[name], changes)})
    tried[f"changes of {name}"] += 1


JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.sampled_from([-1, 0, 3, 4, 1 << 31, 1 << 32, 1 << 63, 1 << 64, 10**400]),
        st.floats(),
        st.text(),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(), inner, max_size=4)),
)


def replaced(value: Any, path: list[int], by: Any) -> Any:
    """Puts something else where the path, of numbers modulo what there is, ends."""
    if not path or not isinstance(value, dict | list) or not value:
        return by
    keys = list(value) if isinstance(value, dict) else range(len(value))
    key = keys[path[0] % len(keys)]
    items = dict(value) if isinstance(value, dict) else list(value)
    items[key] = replaced(value[key], path[1:], by)
    return items


@FUZZ
@given(replacements=st.lists(st.tuples(st.lists(st.integers(0, 20), max_size=4), JSON), min_size=1, max_size=3))
def test_metadata_and_probes_with_other_values_are_refused_or_answer_the_probes(
    version: Path, original: Files, tried: Counter[str], replacements: list[tuple[list[int], Any]]
) -> None:
    metadata = json.loads(original[METADATA])
    probes = [json.loads(line) for line in original[PROBES].splitlines()]
    for path, value in replacements:
        metadata, probes = replaced(metadata, path, value), replaced(probes, path, value)
    lines = probes if isinstance(probes, list) else [probes]
    load(version, {**original, METADATA: json.dumps(metadata).encode()})
    load(version, {**original, PROBES: "\n".join(map(json.dumps, lines)).encode()})
    tried["values of metadata and probes"] += 2


@FUZZ
@given(
    lines=st.lists(
        st.one_of(st.text(max_size=8), st.sampled_from(["the", "film", "[UNUSED 4]", "\u2028", ""])), max_size=9
    ),
    at=st.integers(0, 20),
    labels=st.lists(st.text(max_size=8), max_size=6),
)
def test_other_words_and_labels_are_refused_or_answer_the_probes(
    *, version: Path, original: Files, tried: Counter[str], lines: list[str], at: int, labels: list[str]
) -> None:
    words = original.get(VOCABULARY, b"").decode().splitlines(keepends=True)
    words[at : at + len(lines)] = [f"{line}\n" for line in lines]
    load(version, {**original, VOCABULARY: "".join(words).encode(errors="surrogatepass")})
    load(version, {**original, LABELS: "\n".join(labels).encode(errors="surrogatepass")})
    tried["vocabularies and labels"] += 2


@FUZZ
@given(
    names=st.lists(st.integers(0, 20), min_size=1, max_size=3),
    shape=st.lists(st.integers(0, 20), max_size=3),
    dtype=st.sampled_from(["f2", "f4", "f8", "i1", "u1", "i4", "b1"]),
    numbers=st.lists(st.one_of(st.floats(), st.integers(-128, 127)), min_size=1, max_size=8),
    reshape=st.booleans(),
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_other_tensors_with_right_digests_are_refused_or_answer_the_probes(
    *,
    version: Path,
    original: Files,
    tried: Counter[str],
    names: list[int],
    shape: list[int],
    dtype: str,
    numbers: list[float],
    reshape: bool,
) -> None:
    load(version, original)
    tensors = load_file(version / WEIGHTS)
    for number in names:
        name = sorted(tensors)[number % len(tensors)]
        size = shape if reshape else tensors[name].shape
        tensors[name] = np.resize(np.array(numbers, np.float64), size).astype(dtype)
    weights.write(version, tensors)
    del _written[version / WEIGHTS]
    load(version, {})
    tried["weights"] += 1
