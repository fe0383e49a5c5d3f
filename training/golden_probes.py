"""Makes the golden probes of a new model: texts, and the probabilities that its network gives them."""

from collections.abc import Iterator

import numpy as np

from textmodel.probes import Probe
from textmodel.vocabulary import FIRST_WORD, Vocabulary
from training.classifiers.classifier import Classifier
from training.data.keras_datasets import Examples

_EXCERPTS = (1, 2, 3, 5, 8, 12, 16, 20, 25, 30, 40, 50, 60)  # words
_EDGES = (
    "",
    " ",
    "?! ... --- (!)",
    "qzxvkj wqzxvkj zzqxvkj",
    "\0",
    "a\0b good\0 bad",
    "😀 👩\u200d👩\u200d👧 good",
    "İSTANBUL ΟΔΟΣ ΣΊΣΥΦΟΣ Straße ǅ \u212a 300",
    "tab\tline\nreturn\rno\u00a0break the end",
)
_LONG = 5_000  # words
_MAX_WORD = 100
"""Maximum length of a word in a probe: a text may be a single word of a megabyte."""


def make_probes(classifier: Classifier, vocabulary: Vocabulary, examples: Examples) -> list[Probe]:
    """Returns the golden probes: edge cases, and excerpts of training texts with the case and punctuation of everyday
    writing.

    The classifier itself computes the probabilities, from `Vocabulary.indices` or from the texts.
    """
    texts = [*_excerpts(vocabulary, examples), *_EDGES, _long(vocabulary)]
    sequences = [np.array(vocabulary.indices(text), np.int32) for text in texts]
    answers = classifier.probabilities(Examples(sequences, np.zeros(len(texts), np.int64), texts))
    return [Probe(text, tuple(answer)) for text, answer in zip(texts, answers.tolist(), strict=True)]


def _excerpts(vocabulary: Vocabulary, examples: Examples) -> Iterator[str]:
    for number, words in enumerate(_EXCERPTS):
        at = number * len(examples) // len(_EXCERPTS)
        text = " ".join(word[:_MAX_WORD] for word in _words(vocabulary, examples, at)[:words])
        yield (text, f"{text.upper()}!", f'"{text.capitalize()}", (he) said.')[number % 3]


def _words(vocabulary: Vocabulary, examples: Examples, at: int) -> list[str]:
    if examples.texts is not None:
        return examples.texts[at].split()
    return [vocabulary.entries[index] for index in examples.sequences[at] if index >= FIRST_WORD]


def _long(vocabulary: Vocabulary) -> str:
    words = vocabulary.entries[FIRST_WORD : FIRST_WORD + 500] or (":-)",)  # the texts may be symbols alone
    return " ".join(words[number % len(words)][:_MAX_WORD] for number in range(_LONG))
