"""The server's configuration."""

from dataclasses import fields
from pathlib import Path

import pytest

from service.config import Config, flag, parse, shown, variable


def test_a_flag_wins_over_the_variable_and_the_variable_over_the_default() -> None:
    environment = {"TEXT_CLASSIFIER_MAX_TEXTS": "7", "TEXT_CLASSIFIER_PORT": "8"}
    config = parse(["--max-texts", "9"], environment)
    assert (config.max_texts, config.port, config.metrics_port) == (9, 8, Config().metrics_port)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--port", "65536"], "--port: '65536' is not a port, 0 to 65535"),
        (["--port", "x"], "--port: 'x' is not a port"),
        (["--max-texts", "0"], "--max-texts: '0' is not a whole number from 1 up"),
        (["--grace-period", "nan"], "--grace-period: 'nan' is not a number of seconds, 0 or more"),
        (["--pin", "imdb"], "--pin: 'imdb' is not names and versions, as imdb=1,reuters=2"),
        (["--pin", "imdb=0"], "--pin: 'imdb=0' is not names and versions"),
        (["--pin", "imdb=1,imdb=2"], "--pin: 'imdb=1,imdb=2' is not names and versions"),
        (["--log-format", "xml"], "--log-format: 'xml' is not one of auto, json, console"),
    ],
)
def test_a_bad_value_ends_with_status_2_and_says_what_is_right(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        parse(arguments, {})
    assert end.value.code == 2
    assert expected in capsys.readouterr().err.splitlines()[-1]


def test_a_bad_variable_is_named_as_the_source(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse([], {"TEXT_CLASSIFIER_PORT": "-1"})
    assert "TEXT_CLASSIFIER_PORT: '-1' is not a port" in capsys.readouterr().err


def test_the_page_has_every_flag_with_its_variable_and_default() -> None:
    page = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()
    for option in fields(Config):
        row = next((line for line in page.splitlines() if line.startswith(f"| `{flag(option.name)}` ")), None)
        assert row, f"docs/configuration.md has no row for {flag(option.name)}"
        assert f"`{variable(option.name)}`" in row
        assert f"| `{shown(option.default)}` |" in row
