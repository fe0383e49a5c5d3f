"""The server's configuration."""

import os
import subprocess
import sys
from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import pytest

from service.config import Config, flag, ignored_service_links, parse, parser, shown, unknown_variables, variable
from tests.server_process import ROOT
from textmodel.extras import how_to_install


def test_a_flag_wins_over_the_variable_and_the_variable_over_the_default() -> None:
    environment = {"TEXT_CLASSIFIER_MAX_TEXTS": "7", "TEXT_CLASSIFIER_PORT": "8"}
    config = parse(["--max-texts", "9"], environment)
    assert (config.max_texts, config.port, config.metrics_port) == (9, 8, Config().metrics_port)


def test_an_empty_variable_is_as_if_it_was_not_set() -> None:
    environment = {variable(option.name): "" for option in fields(Config)}
    assert parse([], environment) == Config()


@pytest.mark.parametrize(
    ("option", "low", "high"),
    [
        ("port", 0, 65535),
        ("http_port", 0, 65535),
        ("metrics_port", 0, 65535),
        ("health_port", 1, 65535),
        ("workers", 0, 1024),
        ("keep_versions", 1, 2**31 - 1),
        ("max_texts", 1, 2**31 - 1),
        ("max_text_bytes", 1, 2**31 - 1),
        ("max_explain_bytes", 1, 2**31 - 1),
        ("max_request_bytes", 1, 2**31 - 1),
        ("max_batch_texts", 1, 2**31 - 1),
        ("max_queue_texts", 1, 2**31 - 1),
        ("max_queue_bytes", 1, 2**40),
        ("max_pending_calls", 1, 2**30 - 1),
        ("max_connection_age", 1, 1_000_000),
        ("watch_interval", 0.01, 1_000_000),
        ("grace_period", 0, 1_000_000),
        ("heartbeat_timeout", 1, 3600),
        ("capture_bytes", 2**20, 2**40),
        ("shadow_share", 0, 1),
        ("capture_share", 0, 1),
    ],
)
def test_a_number_has_bounds_and_both_are_inside(
    option: str, low: float, high: int, capsys: pytest.CaptureFixture[str]
) -> None:
    for value in (low, high):
        assert getattr(parse([flag(option), str(value)], {}), option) == value
    for refused in (low - 1 or 0.9, high + 1):  # some take 0 as well
        with pytest.raises(SystemExit) as end:
            parse([f"{flag(option)}={refused}"], {})
        assert end.value.code == 2
        assert f"{low} to {high}" in capsys.readouterr().err.splitlines()[-1]


def test_every_option_that_takes_a_number_is_bounded() -> None:
    for option in fields(Config):
        for value in ("1e999", "9" * 5000, "-1"):
            if isinstance(option.default, (int, float)) or option.name == "health_port":
                with pytest.raises(SystemExit):
                    parse([f"{flag(option.name)}={value}"], {})


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--port", "65536"], "--port: '65536' is not a port, 0 to 65535"),
        (["--port", "x"], "--port: 'x' is not a port, 0 to 65535"),
        (["--http-port", "on"], "--http-port: 'on' is not a port, 0 to 65535, or off"),
        (["--metrics-port", "off"], "--metrics-port: 'off' is not a port, 0 to 65535"),
        (["--max-texts", "0"], "--max-texts: '0' is not an integer, 1 to 2147483647"),
        (["--max-texts", "1.5"], "--max-texts: '1.5' is not an integer"),
        (["--heartbeat-timeout", "0.9"], "--heartbeat-timeout: '0.9' is not a number of seconds, 1 to 3600, or 0"),
        (["--watch-interval", "0.009"], "--watch-interval: '0.009' is not a number of seconds, 0.01 to 1000000, or 0"),
        (["--grace-period", "nan"], "--grace-period: 'nan' is not a number of seconds, 0 to 1000000"),
        (["--pin", "imdb"], "--pin: 'imdb' is not names and versions, each name once, such as imdb=1,reuters=2"),
        (["--pin", "imdb=1,imdb=2"], "--pin: 'imdb=1,imdb=2' is not names and versions, each name once"),
        (["--pin", "imdb=0"], "--pin: 'imdb=0' is not names and versions"),
        (["--pin", "imdb=-1"], "--pin: 'imdb=-1' is not names and versions"),
        (["--pin", "imdb=9223372036854775808"], "--pin: 'imdb=9223372036854775808' is not names and versions"),
        (["--pin", "imdb=1=2"], "--pin: 'imdb=1=2' is not names and versions"),
        (["--pin", "=1"], "--pin: '=1' is not names and versions"),
        (["--pin", "../x=1"], "--pin: '../x=1' is not names and versions"),
        (["--pin", "imdb=1,imdb=2"], "--pin: 'imdb=1,imdb=2' is not names and versions"),
        (["--pin", "imdb=1,b"], "--pin: 'imdb=1,b' is not names and versions"),
        (["--cors-origins", "example.org"], "--cors-origins: 'example.org' is not origins"),
        (["--cors-origins", "https://a,https://b/"], "--cors-origins: 'https://a,https://b/' is not origins"),
        (["--allowed-hosts", "a b"], "--allowed-hosts: 'a b' is not "),
        (["--allowed-hosts", "a.example,/"], "--allowed-hosts: 'a.example,/' is not "),
        (["--log-format", "xml"], "--log-format: 'xml' is not one of auto, json, console"),
        (["--reflection", "ON"], "--reflection: 'ON' is not one of on, off"),
        (["--models", ""], "--models: '' is not a folder"),
        (["--models", "a\0b"], "--models: 'a\\x00b' is not a folder"),
        (["--tls-cert", ""], "--tls-cert: '' is not a file"),
        (["--host", ""], "--host: '' is not an IP address, a host name, or unix:PATH"),
        (["--host", "[127.0.0.1]"], "--host: '[127.0.0.1]' is not an IP address"),
        (["--host", "1.2.3.4.5"], "--host: '1.2.3.4.5' is not an IP address"),
        (["--host", ":::1"], "--host: ':::1' is not an IP address"),
        (["--host", "a" * 64], f"--host: '{'a' * 64}' is not an IP address"),
        (["--host", "a" * 65], f"--host: '{'a' * 64}…' is not an IP address"),
        (["--host", "unix:"], "--host: 'unix:' is not an IP address"),
        (["--host", "unix:/" + "x" * 107], "or unix:PATH with a path of at most 107 bytes"),
        (["--host", "unix:/x"], "--http-port off"),
        (["--host", "unix:/x", "--http-port", "off", "--workers", "2"], "one of --workers"),
        (["--host", "unix:/x", "--http-port", "off", "--health-port", "7"], "no --health-port"),
        (["--metrics-host", "unix:/x"], "--metrics-host: 'unix:/x' is not an IP address or a host name"),
        (["--port", "8080"], "--port and --http-port are both 8080: choose another port for one"),
        (["--health-port", "50051"], "--port and --health-port are both 50051"),
        (["--metrics-port", "8080"], "--http-port and --metrics-port are both 8080"),
        (["--xyzzy"], "unrecognized arguments: --xyzzy: see"),
        (["--workes", "3"], "unrecognized arguments: --workes 3; did you mean --workers?"),
        (["--max-txts=3"], "unrecognized arguments: --max-txts=3; did you mean --max-texts?"),
        (["--port"], "argument --port: expected one argument"),
    ],
)
def test_a_bad_value_ends_with_status_2_and_says_what_is_right(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        parse(arguments, {})
    assert end.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("text-classifier-server: error: ")
    assert line.endswith(": see text-classifier-server --help")
    assert expected in line


@pytest.mark.parametrize(
    ("arguments", "option", "expected"),
    [
        (["--host", "[::1]"], "host", "::1"),
        (["--host", "::"], "host", "::"),
        (["--host", "localhost"], "host", "localhost"),
        (["--host", "a" * 63 + ".example."], "host", "a" * 63 + ".example."),
        (["--host", "unix:/" + "x" * 106, "--http-port", "off"], "host", "unix:/" + "x" * 106),
        (["--host", "unix:/x", "--http-port", "off", "--workers", "1"], "workers", 1),
        (["--http-port", "off"], "http_port", None),
        (["--port", "0", "--http-port", "0", "--metrics-port", "0"], "http_port", 0),
        (["--metrics-host", "::1", "--metrics-port", "8080"], "metrics_port", 8080),
        (["--watch-interval", "0"], "watch_interval", 0),
        (["--heartbeat-timeout", "0.0"], "heartbeat_timeout", 0),
        (["--log-format", "json"], "log_format", "json"),
        (["--models", "my models"], "models", Path("my models")),
        (["--pin", ""], "pin", ()),
        (["--pin", "imdb=1, reuters=9223372036854775807,"], "pin", (("imdb", 1), ("reuters", 2**63 - 1))),
        (
            ["--cors-origins", "https://a.example, http://b:3000"],
            "cors_origins",
            ("https://a.example", "http://b:3000"),
        ),
        (["--cors-origins", "*"], "cors_origins", ("*",)),
        (["--allowed-hosts", "api.example.org, [::1],*"], "allowed_hosts", ("api.example.org", "[::1]", "*")),
    ],
)
def test_a_right_value_is_taken(arguments: list[str], option: str, expected: object) -> None:
    assert getattr(parse(arguments, {}), option) == expected


def test_a_bad_variable_is_named_as_the_source(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse([], {"TEXT_CLASSIFIER_PORT": "-1"})
    assert "TEXT_CLASSIFIER_PORT: '-1' is not a port" in capsys.readouterr().err


# What Kubernetes sets for a Service `text-classifier` and one `text-classifier-metrics`.
SERVICE_LINKS = {
    "TEXT_CLASSIFIER_PORT": "tcp://10.96.12.7:50051",
    "TEXT_CLASSIFIER_PORT_50051_TCP": "tcp://10.96.12.7:50051",
    "TEXT_CLASSIFIER_PORT_50051_TCP_ADDR": "10.96.12.7",
    "TEXT_CLASSIFIER_PORT_50051_TCP_PORT": "50051",
    "TEXT_CLASSIFIER_PORT_50051_TCP_PROTO": "tcp",
    "TEXT_CLASSIFIER_SERVICE_HOST": "10.96.12.7",
    "TEXT_CLASSIFIER_SERVICE_PORT": "50051",
    "TEXT_CLASSIFIER_SERVICE_PORT_GRPC": "50051",
    "TEXT_CLASSIFIER_METRICS_PORT": "tcp://10.96.12.8:8000",
    "TEXT_CLASSIFIER_METRICS_SERVICE_HOST": "10.96.12.8",
    "TEXT_CLASSIFIER_METRICS_PORT_8000_TCP": "tcp://10.96.12.8:8000",
    "TEXT_CLASSIFIER_HTTP_PORT": "udp://10.96.12.8:8080",
    "TEXT_CLASSIFIER_HEALTH_PORT": "sctp://10.96.12.8:8081",
}


def test_what_kubernetes_sets_for_a_service_of_that_name_is_no_option() -> None:
    assert parse([], SERVICE_LINKS) == Config()
    assert ignored_service_links(SERVICE_LINKS) == [
        "TEXT_CLASSIFIER_PORT",
        "TEXT_CLASSIFIER_HTTP_PORT",
        "TEXT_CLASSIFIER_METRICS_PORT",
        "TEXT_CLASSIFIER_HEALTH_PORT",
    ]
    assert list(unknown_variables(SERVICE_LINKS)) == []


def test_a_misspelt_variable_is_told_with_what_it_may_mean() -> None:
    environment = {"TEXT_CLASSIFIER_MAX_TEXT": "1", "TEXT_CLASSIFIER_ZZZ": "1", "TEXT_CLASSIFIER_workers": "2"}
    known = {"TEXT_CLASSIFIER_TOKEN": "t", "TEXT_CLASSIFIER_ADDRESS": "a", "PATH": "/", "TEXT_CLASSIFIER_PORT": "1"}
    assert list(unknown_variables(environment | known)) == [
        ("TEXT_CLASSIFIER_MAX_TEXT", "TEXT_CLASSIFIER_MAX_TEXTS"),
        ("TEXT_CLASSIFIER_ZZZ", ""),
        ("TEXT_CLASSIFIER_workers", "TEXT_CLASSIFIER_WORKERS"),
    ]


def test_the_page_has_every_flag_with_its_variable_default_and_description() -> None:
    page = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()
    for option in fields(Config):
        row = (
            f"| `{flag(option.name)}` | `{variable(option.name)}` | `{shown(option.default)}` |"
            f" {option.metadata['description']} |"
        )
        assert row in page.splitlines()


@pytest.mark.parametrize(
    ("option", "takes"),
    [
        ("models", "DIR"),
        ("tls_cert", "FILE"),
        ("host", "HOST"),
        ("port", "PORT"),
        ("http_port", "PORT|off"),
        ("health_port", "PORT"),
        ("workers", "N"),
        ("max_texts", "N"),
        ("max_pending_calls", "N"),
        ("max_text_bytes", "BYTES"),
        ("max_queue_bytes", "BYTES"),
        ("capture_bytes", "BYTES"),
        ("grace_period", "SECONDS"),
        ("shadow_share", "SHARE"),
        ("reflection", "on|off"),
        ("pin", "NAME=VERSION,..."),
        ("cors_origins", "ORIGIN,..."),
        ("allowed_hosts", "HOST,..."),
    ],
)
def test_the_help_says_what_each_flag_takes(option: str, takes: str) -> None:
    (description,) = (each.metadata["description"] for each in fields(Config) if each.name == option)
    assert f" {flag(option)} {takes} {description.split()[0]} " in " ".join(parser().format_help().split())


def test_the_help_tells_of_the_variables() -> None:
    help_ = " ".join(parser().format_help().split())
    assert help_.startswith("usage: text-classifier-server [-h]")
    assert help_.endswith("environment variable: --max-texts is TEXT_CLASSIFIER_MAX_TEXTS.")


def test_a_configuration_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        Config().port = 1  # type: ignore[misc]


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "service", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_the_command_tells_its_version() -> None:
    done = run("--version")
    assert (done.returncode, done.stdout.split()[0]) == (0, "text-classifier-server")


def test_a_missing_extra_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "structlog.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'structlog'\", name='structlog')"
    )
    done = run(PYTHONPATH=str(tmp_path))
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line == f"text-classifier-server: error: structlog is not installed: {how_to_install('server')}"
    assert ".venv/bin/pip install -c constraints.txt -e '.[server]'" in line
    assert run("--help", PYTHONPATH=str(tmp_path)).stdout.startswith("usage: text-classifier-server ")
