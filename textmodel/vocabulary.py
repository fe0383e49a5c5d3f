"""The vocabulary: the index of each word. Its file, one entry a line, is an asset of the exported graph."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from textmodel import tokenization, unicode_text
from textmodel.errors import ModelError
from textmodel.metadata import Tokenization
from textmodel.tokenization import are_words, is_word

PADDING = 0
"""Index that pads a sequence."""
START = 1
"""Index that starts every text."""
UNKNOWN = 2
"""Index of a word that is not in the vocabulary."""
FIRST_WORD = 4
"""Index of the most frequent word. Keras's `index_from` of 3 is added to ranks that start at 1, so 3 is never used."""

# Brackets separate words, so no word of a text equals one of these.
_RESERVED = ("[PADDING]", "[START]", "[UNKNOWN]", "[UNUSED 3]")


_Tokenize = Callable[[str], list[str]]
_Spans = Callable[[str], list[tuple[int, int]]]
_RULES: dict[Tokenization, tuple[_Tokenize, _Spans]] = {
    "keras": (tokenization.tokenize, tokenization.spans),
    "unicode": (unicode_text.tokenize, unicode_text.spans),
}


class Vocabulary:
    """Words and their indices: an entry's position is its index.

    Args:
        entries: the reserved entries, then the words in descending order of their frequency in the training texts.
        tokenization: the rules by which texts become words.

    Raises:
        ModelError: the reserved entries are missing, an entry is repeated, or an entry cannot be a word.
    """

    def __init__(self, entries: Iterable[str], tokenization: Tokenization = "keras") -> None:
        self.entries = tuple(entries)
        self._tokenize, self._spans = _RULES[tokenization]
        if self.entries[:FIRST_WORD] != _RESERVED:
            raise ModelError(f"a vocabulary must begin with the lines {', '.join(_RESERVED)}")
        words = self.entries[FIRST_WORD:]
        if not are_words(words):
            for index, entry in enumerate(words, FIRST_WORD):
                if not is_word(entry) and entry != _unused(index):
                    raise ModelError(f"vocabulary index {index}: {entry!r} cannot be a word")
        self._index = {entry: index for index, entry in enumerate(self.entries)}
        if len(self._index) < len(self.entries):
            seen: set[str] = set()
            for index, entry in enumerate(self.entries):
                if entry in seen:
                    raise ModelError(f"vocabulary index {index}: {entry!r} comes twice")
                seen.add(entry)

    def __len__(self) -> int:
        return len(self.entries)

    def tokenize(self, text: str) -> list[str]:
        """Returns the words of the text, in order."""
        return self._tokenize(text)

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Returns the positions of the words in the text: start and end of each, in code points."""
        return self._spans(text)

    def indices(self, text: str) -> list[int]:
        """Returns the indices of the text's words, preceded by `START`; `UNKNOWN` for unknown words."""
        return [START, *(self._index.get(word, UNKNOWN) for word in self.tokenize(text))]

    @classmethod
    def from_ranks(cls, ranks: Mapping[str, int], size: int, tokenization: Tokenization = "keras") -> "Vocabulary":
        """Builds the vocabulary of a Keras word index.

        Args:
            ranks: the rank of each word; 1 is the most frequent.
            size: number of indices, Keras's `num_words`. Words with an index `rank + 3` of `size` or more are left out.
        """
        by_index = {rank + FIRST_WORD - 1: word for word, rank in ranks.items() if is_word(word)}
        words = (by_index.get(index, _unused(index)) for index in range(FIRST_WORD, size))
        return cls((*_RESERVED, *words), tokenization)

    @classmethod
    def read(cls, path: Path, tokenization: Tokenization = "keras") -> "Vocabulary":
        """Reads a vocabulary file: UTF-8, one entry a line.

        Raises:
            ModelError: the file is missing, is not UTF-8, or is not a vocabulary.
        """
        lines = read_lines(path)
        try:
            return cls(lines, tokenization)
        except ModelError as error:
            raise ModelError(f"{path}: {error}") from error

    def write(self, path: Path) -> None:
        """Writes the vocabulary file."""
        write_lines(path, self.entries)


def read_lines(path: Path) -> list[str]:
    """Reads a UTF-8 file with one entry a line. Only newlines separate lines.

    Raises:
        ModelError: the file is missing or is not UTF-8.
    """
    try:
        text = path.read_bytes().decode()
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ModelError(f"{path}: not UTF-8 ({error})") from error
    return text.removesuffix("\n").split("\n")


def write_lines(path: Path, entries: Iterable[str]) -> None:
    """Writes a UTF-8 file with one entry a line."""
    path.write_bytes("".join(f"{entry}\n" for entry in entries).encode())


def _unused(index: int) -> str:
    return f"[UNUSED {index}]"
