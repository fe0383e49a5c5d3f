from dataclasses import replace

import numpy as np

from textmodel.vocabulary import FIRST_WORD, Vocabulary
from training.classifiers.ngram import NGramClassifier
from training.data.keras_datasets import Examples
from training.golden_probes import make_probes
from training.settings import OWN_DATA, PRESETS

SETTINGS = replace(PRESETS[OWN_DATA]["ngram"], features="words", max_ngram=1, cost=1.0, min_df=1)


def test_probes_stay_small_whatever_the_length_of_the_words() -> None:
    texts = ["x" * 20_000 + str(number) for number in range(12)]
    vocabulary = Vocabulary.from_ranks({text: rank for rank, text in enumerate(texts, 1)}, FIRST_WORD + 12, "unicode")
    examples = Examples([np.array([1, FIRST_WORD], np.int32)] * 12, np.arange(12) % 2, texts)
    classifier = NGramClassifier(SETTINGS, 2)
    classifier.fit(examples)
    probes = make_probes(classifier, vocabulary, examples)
    assert len(probes) > 20
    assert max(len(probe.text) for probe in probes) < 1_000_000
