import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from textmodel import ModelError, VersionFolder
from textmodel.metadata import CharacterNGrams, HashedNGrams, Metadata, NGrams

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
