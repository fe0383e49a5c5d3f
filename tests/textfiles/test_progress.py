from io import StringIO

from rich.console import Console

from textfiles.progress import bytes_shown


def _lines(size: int, positions: list[int]) -> list[list[str]]:
    """Returns the lines that each position adds."""
    output = StringIO()
    with bytes_shown(Console(file=output), "Reading [a].csv", size) as show:
        assert output.getvalue() == "Reading [a].csv\n"
        added = []
        for position in positions:
            before = len(output.getvalue())
            show(position)
            added.append(output.getvalue()[before:].splitlines())
    return added


def test_a_line_comes_when_a_tenth_more_is_read() -> None:
    assert _lines(1000, [0, 99, 100, 150, 199, 200, 450, 499, 1000]) == [
        *([], []),
        ["  read 100 bytes of 1.0 kB"],
        *([], []),
        ["  read 200 bytes of 1.0 kB"],
        ["  read 450 bytes of 1.0 kB"],
        [],
        ["  read 1.0 kB of 1.0 kB"],
    ]


def test_a_terminal_shows_a_bar_instead_of_lines() -> None:
    output = StringIO()
    with bytes_shown(Console(file=output, force_terminal=True, width=80), "Reading", 1000) as show:
        show(500)
    assert "read 500" not in output.getvalue()
    assert "0.5/1.0 kB" in output.getvalue()
