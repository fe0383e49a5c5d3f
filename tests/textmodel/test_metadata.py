import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from textmodel import ModelError, VersionFolder
from textmodel.metadata import (
    Abstention,
    CharacterNGrams,
    DataSet,
    HashedNGrams,
    Layer,
    Metadata,
    MultiHot,
    NGrams,
    PaddedSequence,
)
from textmodel.metadata import TestMetrics as Measured  # pytest would take it for tests

Document = dict[str, Any]


@pytest.fixture
def document(tiny_models: Path) -> Document:
    document: Document = json.loads(VersionFolder(tiny_models / "topic" / "1").metadata_file.read_bytes())
    return document


def test_written_metadata_reads_the_same(tiny_models: Path, tmp_path: Path) -> None:
    metadata = VersionFolder(tiny_models / "topic" / "1").metadata
    metadata.write(tmp_path / "metadata.json")
    assert Metadata.read(tmp_path / "metadata.json") == metadata


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda document: document.pop("name"), "name"),
        (lambda document: document.update(name=""), "$.name"),
        (lambda document: document.update(extra=1), "extra"),
        (lambda document: document.update(format=2), "$.format"),
        (lambda document: document.update(tokenization="bytes"), "$.tokenization"),
        (lambda document: document.update(created_at="2026-01-01T00:00:00"), "$.created_at"),
        (lambda document: document.update(network=[]), "$.network"),
        (lambda document: document["network"][0].update(units=0), "$.network[0].units"),
        (lambda document: document["network"][0].update(activation="gelu"), "$.network[0].activation"),
        (lambda document: document["vectorizer"].update(kind="tf-idf"), "$.vectorizer"),
        (lambda document: document["vectorizer"].update(num_words=3), "$.vectorizer.num_words"),
        (lambda document: document["test_metrics"].update(accuracy=1.1), "$.test_metrics.accuracy"),
        (lambda document: document["test_metrics"].update(accuracy="high"), "$.test_metrics.accuracy"),
        (lambda document: document["data_set"].update(training_texts=-1), "$.data_set.training_texts"),
    ],
)
def test_malformed_metadata_are_refused_with_their_file_and_field(
    damage: Callable[[Document], object], says: str, document: Document, tmp_path: Path
) -> None:
    damage(document)
    (tmp_path / "metadata.json").write_text(json.dumps(document))
    with pytest.raises(ModelError, match=r"metadata\.json") as error:
        Metadata.read(tmp_path / "metadata.json")
    assert says in str(error.value)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"name": "\xff"}', b'{"vectorizer": {"a": ' + b"[" * 100_000], ids=range(5)
)
def test_what_is_no_json_object_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "metadata.json").write_bytes(content)
    with pytest.raises(ModelError, match=r"metadata\.json"):
        Metadata.read(tmp_path / "metadata.json")


def test_missing_metadata_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"metadata.json: No such file"):
        Metadata.read(tmp_path / "metadata.json")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"buckets": 1000}, "`buckets` is a power of two"),
        ({"buckets": 0}, "`buckets` is a power of two"),
        ({"orders": 1}, "`buckets` is 0"),
        ({"orders": 4}, "$.vectorizer.orders"),
        ({"orders": 0}, "$.vectorizer.orders"),
        ({"buckets": 1 << 31}, "$.vectorizer.buckets"),
        ({"counts": "square"}, "$.vectorizer.counts"),
        ({"normalize": 1}, "$.vectorizer.normalize"),
    ],
)
def test_malformed_ngrams_are_refused_with_their_field(
    change: Document, says: str, document: Document, tmp_path: Path
) -> None:
    ngrams = {"kind": "ngrams", "num_words": 14, "orders": 3, "buckets": 1024, "counts": "log", "normalize": True}
    (tmp_path / "metadata.json").write_text(json.dumps(document | {"vectorizer": ngrams}))
    assert Metadata.read(tmp_path / "metadata.json").vectorizer == NGrams(14, 3, 1024, "log", normalize=True)
    (tmp_path / "metadata.json").write_text(json.dumps(document | {"vectorizer": ngrams | change}))
    with pytest.raises(ModelError, match=r"metadata\.json") as error:
        Metadata.read(tmp_path / "metadata.json")
    assert says in str(error.value)


HASHED: Document = {
    "kind": "hashed-ngrams",
    "words": 2,
    "characters": {"min": 2, "max": 5, "across_words": False},
    "buckets": 1024,
    "kept": 10,
    "counts": "log",
    "normalize": True,
}


def test_hashed_ngrams_read_as_they_are_written(document: Document, tmp_path: Path) -> None:
    (tmp_path / "metadata.json").write_text(json.dumps(document | {"vectorizer": HASHED, "tokenization": "unicode"}))
    expected = HashedNGrams(2, CharacterNGrams(2, 5, across_words=False), 1024, 10, "log", normalize=True)
    assert Metadata.read(tmp_path / "metadata.json").vectorizer == expected


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"buckets": 1000}, "`buckets` is a power of two"),
        ({"buckets": 0}, "$.vectorizer.buckets"),
        ({"buckets": 1 << 23}, "$.vectorizer.buckets"),
        ({"kept": 1025}, "`kept` is not above `buckets`"),
        ({"kept": -1}, "$.vectorizer.kept"),
        ({"words": 4}, "$.vectorizer.words"),
        ({"words": 0, "characters": None}, "n-grams of words, of characters, or both"),
        ({"characters": {"min": 3, "max": 2, "across_words": True}}, "`min` is not above `max`"),
        ({"characters": {"min": 0, "max": 2, "across_words": True}}, "$.vectorizer.characters.min"),
        ({"characters": {"min": 1, "max": 7, "across_words": True}}, "$.vectorizer.characters.max"),
        ({"characters": {"min": 1, "max": 2}}, "across_words"),
        ({"counts": "square"}, "$.vectorizer.counts"),
    ],
)
def test_malformed_hashed_ngrams_are_refused_with_their_field(
    change: Document, says: str, document: Document, tmp_path: Path
) -> None:
    whole = document | {"vectorizer": HASHED | change, "tokenization": "unicode"}
    (tmp_path / "metadata.json").write_text(json.dumps(whole))
    with pytest.raises(ModelError, match=r"metadata\.json") as error:
        Metadata.read(tmp_path / "metadata.json")
    assert says in str(error.value)


def test_hashed_ngrams_of_another_tokenization_are_refused(document: Document, tmp_path: Path) -> None:
    (tmp_path / "metadata.json").write_text(json.dumps(document | {"vectorizer": HASHED}))
    with pytest.raises(ModelError, match="hashed n-grams take the tokenization `unicode`"):
        Metadata.read(tmp_path / "metadata.json")


ACROSS = {"min": 1, "max": 6, "across_words": True}
NGRAMS = {"kind": "ngrams", "num_words": 14, "orders": 2, "buckets": 1 << 30, "counts": "log", "normalize": True}
LARGE = HASHED | {"buckets": 1 << 22}
MEASURED = {"accuracy": 0.5, "log_loss": 0.5, "expected_calibration_error": 0.5}


@pytest.mark.parametrize(
    ("kind", "whole", "field", "low", "high"),
    [
        (MultiHot, {"kind": "multi-hot"}, "num_words", 4, None),
        (PaddedSequence, {"kind": "embedding", "length": 1, "dimensions": 1}, "num_words", 4, None),
        (PaddedSequence, {"kind": "embedding", "num_words": 4, "dimensions": 1}, "length", 1, None),
        (PaddedSequence, {"kind": "embedding", "num_words": 4, "length": 1}, "dimensions", 1, None),
        (NGrams, NGRAMS, "num_words", 4, 1 << 30),
        (NGrams, NGRAMS, "orders", 2, 3),
        (NGrams, NGRAMS | {"orders": 1, "buckets": 0}, "orders", 1, 1),
        (NGrams, NGRAMS, "buckets", 1, 1 << 30),
        (CharacterNGrams, ACROSS, "min", 1, 6),
        (CharacterNGrams, ACROSS, "max", 1, 6),
        (HashedNGrams, LARGE, "words", 0, 3),
        (HashedNGrams, LARGE, "kept", 0, 1 << 22),
        (HashedNGrams, LARGE | {"kept": 0}, "buckets", 1, 1 << 22),
        (HashedNGrams, LARGE | {"buckets": 16}, "kept", 0, 16),
        (Layer, {"activation": "relu"}, "units", 1, None),
        (DataSet, {"name": "x", "validation_texts": 0, "test_texts": 0}, "training_texts", 0, None),
        (Measured, MEASURED, "accuracy", 0, 1),
        (Measured, MEASURED, "log_loss", 0, None),
        (Measured, MEASURED, "expected_calibration_error", 0, 1),
        (Abstention, {"thresholds": [0, 2.5]}, "target_precision", 0, 1),
    ],
)
def test_a_number_has_bounds_and_both_are_inside(
    kind: type[msgspec.Struct], whole: Document, field: str, low: int, high: int | None
) -> None:
    for value in (low, low if high is None else high):
        assert getattr(msgspec.convert(whole | {field: value}, kind), field) == value
    for value in (low - 1, *([] if high is None else [high + 1])):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(whole | {field: value}, kind)


def test_a_threshold_may_be_above_1_and_not_below_0() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"target_precision": 0.9, "thresholds": [-0.1]}, Abstention)


def test_metadata_of_older_versions_lack_the_later_fields(document: Document, tmp_path: Path) -> None:
    for field in ("format", "tokenization", "abstention"):
        document.pop(field, None)
    for field in ("unknown_word_ratio", "label_texts"):
        document["data_set"].pop(field, None)
    (tmp_path / "metadata.json").write_text(json.dumps(document))
    read = Metadata.read(tmp_path / "metadata.json")
    assert (read.format, read.tokenization, read.abstention) == (1, "keras", None)
    assert (read.data_set.unknown_word_ratio, read.data_set.label_texts) == (None, ())


def test_features_are_the_words_and_the_buckets() -> None:
    assert NGrams(14, 2, 64, "log", normalize=True).features == 78
    hashed = HashedNGrams(2, None, 64, 10, "log", normalize=True)
    assert (hashed.features, hashed.num_words) == (64, 10)


def test_metadata_are_written_for_people(tiny_models: Path, tmp_path: Path) -> None:
    VersionFolder(tiny_models / "topic" / "1").metadata.write(tmp_path / "metadata.json")
    lines = (tmp_path / "metadata.json").read_text().splitlines(keepends=True)
    assert lines[:2] == ["{\n", '  "name": "topic",\n']
    assert lines[-1] == "}\n"
