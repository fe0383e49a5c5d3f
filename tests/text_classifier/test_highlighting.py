"""Texts as a terminal shows them."""

import io
import re

import pytest

from text_classifier import WordContribution
from text_classifier.highlighting import coloured, coloured_output, printable

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


@pytest.mark.parametrize(
    ("share", "shades"),
    [
        (0.124, (None, None)),
        (0.13, ("194", "224")),
        (0.4, ("157", "217")),
        (0.7, ("120", "210")),
        (0.9, ("82", "203")),
        (1, ("82", "203")),
    ],
)
def test_there_are_four_shades_of_both_colours(share: float, shades: tuple[str | None, str | None]) -> None:
    for sign, shade in zip((1, -1), shades, strict=True):
        words = [WordContribution("a", 0, 1, True, sign * share), WordContribution("b", 2, 3, True, 1)]
        found = re.search(r"48;5;(\d+)ma", coloured("a b", words))
        assert (found[1] if found else None) == shade


class _Output(io.StringIO):
    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


@pytest.mark.parametrize(
    ("terminal", "environment", "colours"),
    [
        (True, {}, True),
        (True, {"TERM": "xterm", "NO_COLOR": ""}, True),
        (False, {"TERM": "xterm"}, False),
        (True, {"NO_COLOR": "1"}, False),
        (True, {"TERM": "dumb"}, False),
    ],
)
def test_colours_go_to_a_terminal_that_has_them(
    terminal: bool, environment: dict[str, str], colours: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TERM", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert coloured_output(_Output(terminal)) is colours


def test_what_is_not_printable_is_a_space() -> None:
    assert printable("a\tb\nc\x1bd é😀\u2028") == "a b c d é😀 "
