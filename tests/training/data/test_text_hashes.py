from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from textmodel import ModelError
from training.data import text_hashes
from training.data.text_hashes import text_hash


@pytest.mark.parametrize(
    ("text", "variants"),
    [
        ("the parcel, thanks", ["The PARCEL thanks", " the\r\nparcel\r\n\r\nthanks!\n", "\ufeffthe parcel\0thanks"]),
        ("hello 1\nthe parcel", ["hello 1\r\nthe parcel\r\n", "hello 1\u2028the\u3000parcel"]),
        ("한국어 리뷰", ["\u1112\u1161\u11ab\u1100\u116e\u11a8\u110b\u1165 리뷰"]),
        ("日本語、テスト。", ["日本語　テスト"]),
        ("Straße ½", ["STRASSE 1⁄2"]),
        ("!!! ", ["!!!"]),
    ],
)
def test_copies_of_a_text_have_its_hash(text: str, variants: list[str]) -> None:
    assert [text_hash(variant) for variant in variants] == [text_hash(text)] * len(variants)


def test_other_texts_have_other_hashes() -> None:
    texts = [
        "good film",
        "goodfilm",
        "film good",
        "good films",
        "की",
        "का",
        "!!!",
        "???",
        "😀",
        "😀😀",
        "a 😀",
        "a ☹",
        "",
    ]
    assert all(text_hash(one) != text_hash(other) for one, other in combinations(texts, 2))


def test_a_hash_stays_the_same_from_version_to_version() -> None:
    assert text_hash("A moving film.") == 0xC40AA0E7929CB5F6
    assert text_hash("재미있는 영화") == 0x54D7CCB004CE4C87


def test_hashes_of_a_version_are_read_as_they_were_written(tmp_path: Path) -> None:
    (tmp_path / "assets.extra").mkdir()
    assert text_hashes.read(tmp_path) is None
    text_hashes.write(tmp_path / "assets.extra" / text_hashes.FILE, [2**64 - 1, 3, 3, 0])
    hashes = text_hashes.read(tmp_path)
    assert hashes is not None
    assert hashes.tolist() == [0, 3, 2**64 - 1]


@pytest.mark.parametrize("content", [np.zeros(3), np.zeros((2, 2), np.uint64), b"no array", b"", b"PK\x05\x06"])
def test_a_damaged_file_of_hashes_is_an_error(content: np.ndarray | bytes, tmp_path: Path) -> None:
    path = tmp_path / "assets.extra" / text_hashes.FILE
    path.parent.mkdir()
    path.write_bytes(content) if isinstance(content, bytes) else np.save(path, content)
    with pytest.raises(ModelError, match=text_hashes.FILE):
        text_hashes.read(tmp_path)
