import warnings
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from training.curves import curves
from training.evaluation.figures import confusion_matrix, drawn, png
from training.evaluation.fonts import drawable, legend
from training.evaluation.markdown import escaped, image
from training.evaluation.metrics import evaluate
from training.evaluation.shown_labels import MAX_CHARACTERS, shortened

HISTORY = {
    "loss": [3.0, 2.0, 1.0],
    "accuracy": [0.1, 0.2, 0.3],
    "val_loss": [3.0, 1.5, 2.0],
    "val_accuracy": [0.1, 0.25, 0.2],
}


def test_the_curves_show_training_and_validation_and_mark_the_best_epoch() -> None:
    for axes, metric in zip(curves(HISTORY).axes, ("loss", "accuracy"), strict=True):
        lines = {str(line.get_label()): line for line in axes.lines}
        np.testing.assert_array_equal(lines["training"].get_ydata(), HISTORY[metric])
        np.testing.assert_array_equal(lines["validation"].get_ydata(), HISTORY[f"val_{metric}"])
        mark = next(line for label, line in lines.items() if label.startswith("best epoch 2"))
        np.testing.assert_array_equal(mark.get_xydata(), [[2, HISTORY[f"val_{metric}"][1]]])


def test_the_confusion_matrix_has_true_labels_as_rows_and_no_zeros() -> None:
    evaluation = evaluate(np.array([[0.9, 0.1, 0], [0.2, 0.8, 0], [0.3, 0.7, 0]], np.float32), np.array([0, 0, 1]))
    axes = confusion_matrix(evaluation, ["x", "y", "z"]).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["x", "y", "z"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["x", "y", "z"]
    assert {(text.get_position(), text.get_text()) for text in axes.texts} == {
        ((0, 0), "1"),
        ((1, 0), "1"),
        ((1, 1), "1"),
    }


@pytest.mark.parametrize("count", [2, 46])
def test_the_labels_of_the_confusion_matrix_do_not_overlap(count: int, tmp_path: Path) -> None:
    evaluation = evaluate(np.eye(count, dtype=np.float32), np.arange(count))
    figure = confusion_matrix(evaluation, ["money-supply"] * count)
    figure.savefig(tmp_path / "figure.png")
    assert imread(tmp_path / "figure.png").ndim == 3
    boxes = [label.get_window_extent() for label in figure.axes[0].get_yticklabels()]
    assert all(upper.y0 >= lower.y1 for upper, lower in pairwise(boxes))


def test_the_confusion_matrix_of_very_many_labels_stays_an_image_of_a_usual_size() -> None:
    evaluation = evaluate(np.eye(500, dtype=np.float32), np.arange(500))
    figure = confusion_matrix(evaluation, ["x"] * 500)
    assert max(figure.get_size_inches()) < 25
    assert not figure.axes[0].texts
    assert imread(BytesIO(png(figure))).shape[0] < 3000


SCRIPTS = ["grain", "naïve", "Привет", "日本語", "한국어", "ภาษาไทย", "हिन्दी", "😀", "a\tb", "$x$"]


def test_labels_of_any_script_are_drawn_without_warnings() -> None:
    evaluation = evaluate(np.eye(len(SCRIPTS), dtype=np.float32), np.arange(len(SCRIPTS)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = confusion_matrix(evaluation, SCRIPTS)
        assert imread(BytesIO(png(figure))).ndim == 3
    drawn = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert drawn[:3] == SCRIPTS[:3]
    numbers = [f"#{number}" for number in range(1, len(SCRIPTS) + 1)]
    assert all(text in both for text, both in zip(drawn, zip(SCRIPTS, numbers, strict=True), strict=True))


def test_an_installed_font_draws_what_the_default_font_lacks() -> None:
    labels = drawable(["grain", "Привет"], default="cmr10")
    assert labels.texts == ["grain", "Привет"]
    assert labels.families[0] == "cmr10"
    assert len(labels.families) > 1


def test_a_label_that_no_font_draws_is_its_number_with_a_legend() -> None:
    labels = ["a", "\U0010fffd b"]
    assert drawable(labels).texts == ["a", "#2"]
    assert legend(labels).endswith("in the figure, #2 is \U0010fffd b.")
    assert legend(["a"]) == ""


LONG = [
    ["grain " * 250, "wheat"],
    ["W" * 8000, "M" * 8000],
    ["a" * 500 + "1", "a" * 500 + "2", "b"],
    ["\u202eabc", "abc"],
    ["日本語" * 500, "한국어" * 500],
    [f"{number}" * 500 for number in range(60)],
]


@pytest.mark.parametrize("labels", LONG)
def test_long_labels_leave_the_matrix_its_room_and_the_figure_its_size(labels: list[str]) -> None:
    evaluation = evaluate(np.eye(len(labels), dtype=np.float32), np.arange(len(labels)))
    figure = confusion_matrix(evaluation, labels)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pixels = imread(BytesIO(png(figure)))
    assert max(pixels.shape) < 3000
    assert figure.axes[0].get_window_extent().width > 100
    texts = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert len(set(texts)) == len(labels)
    assert all(len(text) <= MAX_CHARACTERS + len("#10 ") for text in texts)


def test_labels_that_look_alike_where_they_are_cut_have_numbers_and_a_legend() -> None:
    labels = ["a" * 40 + "1", "b", "a" * 40 + "2"]
    assert shortened(labels) == [f"#1 {'a' * 29}…", "b", f"#3 {'a' * 29}…"]
    assert legend(labels).endswith(f"in the figure, #1 is {labels[0]}, #3 is {labels[2]}.")
    assert shortened(["a" * 30, "b" * 31]) == ["a" * 30, "b" * 29 + "…"]


def test_characters_that_cannot_be_seen_or_mirror_a_text_are_shown_by_their_code() -> None:
    assert shortened(["\u202espam", "ham\u200b", "ham", "\x1b[2J"]) == [
        "<U+202E>spam",
        "ham<U+200B>",
        "ham",
        "<U+001B>[2J",
    ]
    assert escaped("a \u2066b") == r"a \<U+2066\>b"


def test_a_figure_that_fails_is_named_and_the_others_are_drawn() -> None:
    def fail() -> Figure:
        raise MemoryError("Unable to allocate\n 1 GiB")

    found = drawn({"a.png": fail, "b.png": lambda: curves(HISTORY)})
    assert list(found.images) == ["b.png"]
    assert found.notes() == ["the figure a.png is missing: MemoryError: Unable to allocate 1 GiB"]
    assert image("Curves", "a.png", found.missing) == "*Curves: missing. MemoryError: Unable to allocate 1 GiB*"
    assert image("Curves", "b.png", found.missing) == "![Curves](b.png)"
