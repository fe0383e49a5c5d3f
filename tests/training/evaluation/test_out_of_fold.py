"""The features that labelled texts are read by."""

import numpy as np
import pytest

from training.data.keras_datasets import Examples
from training.evaluation.out_of_fold import choose_settings


@pytest.mark.parametrize(
    ("text", "times", "features"),
    [("a short text", 1, "both"), ("a long text ", 50, "words"), ("とても長い文章です。", 50, "characters")],
)
def test_the_features_suit_the_length_and_the_script(text: str, times: int, features: str) -> None:
    texts = [f"{number}{text * times}" for number in range(20)]
    examples = Examples([np.empty(0, np.int32)] * 20, np.arange(20) % 2, texts)
    assert choose_settings(examples, classes=2).features == features
