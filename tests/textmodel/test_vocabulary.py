from pathlib import Path

import pytest

from textmodel import ModelError
from textmodel.vocabulary import Vocabulary, read_lines, write_lines

RESERVED = ["[PADDING]", "[START]", "[UNKNOWN]", "[UNUSED 3]"]


def test_a_word_of_rank_r_has_index_r_plus_3_and_words_beyond_the_size_are_unknown() -> None:
    vocabulary = Vocabulary.from_ranks({"the": 1, "film": 2, "rare": 3}, 6)
    assert vocabulary.entries == (*RESERVED, "the", "film")
    assert vocabulary.indices("The rare FILM, the end") == [1, 4, 2, 5, 4, 2]
    assert vocabulary.indices("") == [1]


def test_ranks_without_a_word_that_a_text_can_hold_are_unused() -> None:
    vocabulary = Vocabulary.from_ranks({"the": 1, "two words": 2, "\u0000": 3, "film": 4}, 9)
    assert vocabulary.entries == (*RESERVED, "the", "[UNUSED 5]", "[UNUSED 6]", "film", "[UNUSED 8]")


def test_no_text_reaches_a_reserved_entry() -> None:
    assert Vocabulary.from_ranks({"the": 1}, 5).indices("[PADDING] [UNUSED 3] padding unused 3") == [1] + 6 * [2]


def test_a_written_vocabulary_reads_the_same(tmp_path: Path) -> None:
    vocabulary = Vocabulary.from_ranks({"x\u0085y": 1, "\u2028": 2, "\u00a0": 3, "café": 4, "\x0c": 6}, 12)
    vocabulary.write(tmp_path / "vocabulary.txt")
    assert Vocabulary.read(tmp_path / "vocabulary.txt").entries == vocabulary.entries


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "No such file"),
        (b"", "must begin with the lines"),
        (b"the\nfilm\n", "must begin with the lines"),
        ("\n".join([*RESERVED, "the", "the"]).encode(), "index 5: 'the' comes twice"),
        ("\n".join([*RESERVED, "two words"]).encode(), "index 4: 'two words' cannot be a word"),
        ("\n".join([*RESERVED, "don't!"]).encode(), "cannot be a word"),
        ("\n".join([*RESERVED, "the", "", "film"]).encode(), "index 5: '' cannot be a word"),
        ("\r\n".join([*RESERVED, "the"]).encode(), "must begin with the lines"),
        ("\n".join([*RESERVED, "the\r"]).encode(), "cannot be a word"),
        ("\n".join([*RESERVED, "[UNUSED 7]"]).encode(), "cannot be a word"),
        ("\n".join([*RESERVED, "a\0b"]).encode(), "cannot be a word"),
        ("\n".join([*RESERVED, "caf\u00e9"]).encode("latin-1"), "not UTF-8"),
    ],
)
def test_a_malformed_vocabulary_is_refused_with_its_file(content: bytes | None, says: str, tmp_path: Path) -> None:
    path = tmp_path / "vocabulary.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=r"vocabulary\.txt") as error:
        Vocabulary.read(path)
    assert says in str(error.value)


def test_lines_are_split_at_newlines_alone(tmp_path: Path) -> None:
    entries = ["a\u2028b", "c\x0bd", "", "e\x85"]
    write_lines(tmp_path / "lines.txt", entries)
    assert read_lines(tmp_path / "lines.txt") == entries
