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


def test_titles_and_lines_are_neither_broken_nor_coloured() -> None:
    title = "Reading " + "12 long " * 20 + ".csv"
    output = StringIO()
    with bytes_shown(Console(file=output, force_terminal=True, color_system="standard", width=80), title, 1000):
        pass
    assert output.getvalue().startswith(f"{title}\n")
    output = StringIO()
    with bytes_shown(Console(file=output, width=10), title, 1000) as show:
        show(1000)
    assert output.getvalue() == f"{title}\n  read 1.0 kB of 1.0 kB\n"


def test_a_bar_leaves_nothing_on_the_terminal() -> None:
    output = StringIO()
    with bytes_shown(Console(file=output, force_terminal=True, width=80), "Reading", 1000) as show:
        show(1000)
    assert output.getvalue().endswith("\x1b[1A\x1b[2K")  # back to the line of the bar, which is cleared


def test_an_empty_file_has_no_tenths() -> None:
    assert _lines(0, [0, 0]) == [[], []]
