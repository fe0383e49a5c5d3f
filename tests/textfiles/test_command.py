import pytest

from textfiles import Format, ReadOptions
from textfiles.command import Parser, add_read_options, fail, read_options


def test_an_error_is_one_line_and_each_detail_one_more(capsys: pytest.CaptureFixture[str]) -> None:
    assert fail("program", 2, "error: a\n  b", ["line 1:\nodd", "and 3 more"]) == 2
    assert capsys.readouterr().err == "program: error: a b\n  line 1: odd\n  and 3 more\n"


def test_wrong_options_are_one_line_that_names_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        Parser("program command").parse_args(["--nonsense"])
    assert exit_.value.code == 2
    said = capsys.readouterr().err
    assert said == "program: error: unrecognized arguments: --nonsense: see program command --help\n"


def test_a_program_has_a_version_and_its_commands_may_use_the_name(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        Parser("program").parse_args(["--version"])
    assert capsys.readouterr().out.startswith("text-classifier ")
    command = Parser("program command")
    command.add_argument("--version", type=int)
    assert command.parse_args(["--version", "3"]).version == 3


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ([], ReadOptions()),
        (["--quoting", "standard"], ReadOptions(quoting=True)),
        (["--quoting", "none"], ReadOptions(quoting=False)),
        (["--no-header"], ReadOptions(header=False)),
        (["--delimiter", "tab"], ReadOptions(delimiter="\t")),
        (["--delimiter", r"\t"], ReadOptions(delimiter="\t")),
        (["--delimiter", "\t"], ReadOptions(delimiter="\t")),
        (["--delimiter", "|"], ReadOptions(delimiter="|")),
        (["--encoding", "cp1252"], ReadOptions(encoding="cp1252")),
        *((["--input-format", each.value[1:]], ReadOptions(format=each)) for each in Format),
    ],
)
def test_each_option_says_how_files_are_read(arguments: list[str], options: ReadOptions) -> None:
    parser = Parser("program")
    add_read_options(parser)
    assert read_options(vars(parser.parse_args(arguments))) == options
