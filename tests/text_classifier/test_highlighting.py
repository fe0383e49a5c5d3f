"""Texts as a terminal shows them."""

import re

from text_classifier import WordContribution
from text_classifier.highlighting import coloured

TEXT = "Good, bad\tand so-so"
WORDS = [
    WordContribution("good", 0, 4, True, 2.0),
    WordContribution("bad", 6, 9, True, -0.6),
    WordContribution("and", 10, 13, True, 0.01),
    WordContribution("so", 14, 16, True, 1.0),
    WordContribution("so", 17, 19, True, 1.0),
]


def test_words_are_green_or_red_by_their_sign_and_stronger_by_their_size() -> None:
    assert re.findall(r"\033\[38;5;16;48;5;(\d+)m(\w+)\033\[0m", coloured(TEXT, WORDS)) == [
        ("82", "Good"),
        ("224", "bad"),
        ("157", "so"),
        ("157", "so"),
    ]


def test_colours_change_nothing_of_the_text_but_what_cannot_be_shown() -> None:
    assert re.sub(r"\033\[[0-9;]*m", "", coloured(TEXT, WORDS)) == "Good, bad and so-so"
    assert coloured("a \033[31mb", [WordContribution("a", 0, 1, True, 0.0)]) == "a  [31mb"
    assert coloured("", []) == ""
    assert coloured("(a)", [WordContribution("a", 1, 2, True, 0.0)]) == "(a)"
