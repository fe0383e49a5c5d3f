"""The command `text-classifier`, in a process of its own, against the real server."""

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme

from tests.failing_service import failing_service
from tests.server_process import ServerProcess, serving
from text_classifier import __version__


def run(*arguments: str | bytes, address: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-c", "import sys; from text_classifier.cli import main; sys.exit(main())", *arguments]
    environment = {**os.environ, "TEXT_CLASSIFIER_ADDRESS": address}
    return subprocess.run(command, input=given, capture_output=True, env=environment, check=False, timeout=120)


def classify(server: ServerProcess, *arguments: str | bytes, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return run("classify", "--model", "topic", *arguments, address=server.address, given=given)


def lines(done: subprocess.CompletedProcess[bytes]) -> list[str]:
    assert done.returncode == 0, done.stderr
    return done.stdout.decode().splitlines()


def failure(done: subprocess.CompletedProcess[bytes]) -> str:
    """The only line on standard error."""
    assert done.returncode == 1
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith("text-classifier: error: ")
    return line


def objects(done: subprocess.CompletedProcess[bytes]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines(done)]


def test_one_text_prints_its_label_and_probability(server: ServerProcess) -> None:
    (line,) = lines(classify(server, "dull film"))
    label, probability = line.split("\t")
    assert label in {"grain", "crude", "gold", "ship", "tin"}
    assert 0.2 <= float(probability) <= 1


def test_several_texts_print_a_line_each_with_their_beginning(server: ServerProcess) -> None:
    first, second = lines(classify(server, "dull film", "x" * 100))
    assert first.endswith("\tdull film")
    assert second.endswith(f"\t{'x' * 59}…")


def test_top_k_prints_that_many_labels_with_falling_probability(server: ServerProcess) -> None:
    (line,) = lines(classify(server, "--top-k", "3", "dull film"))
    columns = line.split("\t")
    assert len(columns) == 6
    assert [float(value) for value in columns[1::2]] == sorted(map(float, columns[1::2]), reverse=True)


def test_json_prints_one_object_a_text(server: ServerProcess) -> None:
    first, second = objects(classify(server, "--json", "--top-k", "9", "dull film", ""))
    assert (first["words"], first["known_words"], first["model"], first["version"]) == (2, 2, "topic", 1)
    assert first["scores"][first["label"]] == first["probability"]
    assert len(first["scores"]) == 5
    assert second["words"] == 0


def test_an_explanation_is_a_line_a_word_under_the_label_s(server: ServerProcess) -> None:
    first, *words, second = lines(classify(server, "--explain", "Dull\tfilm \033", ""))
    label, probability, text = first.split("\t")
    assert lines(classify(server, "dull film \033")) == [f"{label}\t{probability}"]
    assert text == "Dull film  "
    assert [word.split("\t")[:2] for word in words] == [["", "dull"], ["", "film"], ["", " "]]
    assert all(re.fullmatch(r"[+-]\d\.\d{4}", word.split("\t")[2]) for word in words)
    assert not second.startswith("\t")


def test_json_holds_an_explanation_when_it_is_asked_for(server: ServerProcess) -> None:
    (plain,) = objects(classify(server, "--json", "Dull film"))
    (explained,) = objects(classify(server, "--json", "--explain", "Dull film"))
    explanation = explained.pop("explanation")
    assert explained == plain
    assert explanation.keys() == {"bias", "words"}
    assert [(word["word"], word["start"], word["end"]) for word in explanation["words"]] == [
        ("dull", 0, 4),
        ("film", 5, 9),
    ]


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_an_explanation_colours_the_text_on_a_terminal_unless_no_color_is_set(
    server: ServerProcess, monkeypatch: pytest.MonkeyPatch, no_color: str, coloured: bool
) -> None:
    monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("TEXT_CLASSIFIER_ADDRESS", server.address)
    script = "import sys; from text_classifier.cli import main; sys.exit(main())"
    terminal, end = pty.openpty()
    command = [sys.executable, "-c", script, "classify", "--model", "topic", "--explain", "Dull film!"]
    assert subprocess.run(command, stdout=end, check=False, timeout=120).returncode == 0
    os.close(end)
    parts = []
    with suppress(OSError):  # the other side is closed
        while part := os.read(terminal, 10_000):
            parts.append(part)
    shown = b"".join(parts).decode()
    os.close(terminal)
    assert ("\033[" in shown) == coloured
    assert ("Dull film!" in re.sub(r"\033\[[0-9;]*m", "", shown)) == coloured
    assert ("\r\n\tdull\t" in shown) == (not coloured)


@pytest.mark.parametrize("arguments", [["-"], ["--file", "-"]])
def test_standard_input_is_one_text_a_line(server: ServerProcess, arguments: list[str]) -> None:
    given = "the film\r\n\na dull café film".encode()
    answers = objects(classify(server, "--json", *arguments, given=given))
    assert [answer["words"] for answer in answers] == [2, 0, 4]


def test_a_byte_order_mark_is_no_part_of_the_first_text(server: ServerProcess) -> None:
    marked, plain = (lines(classify(server, "-", given=mark + b"good film\n")) for mark in (b"\xef\xbb\xbf", b""))
    assert marked == plain


def test_a_file_is_one_text_a_line(server: ServerProcess, tmp_path: Path) -> None:
    file = tmp_path / "texts.txt"
    file.write_text("a film\n" * 300)
    assert len(lines(classify(server, "--file", str(file)))) == 300


def test_several_files_are_read_one_after_the_other(server: ServerProcess, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text("one\n\ufefftwo\n")
    second.write_text("\ufeffthree\n")
    answers = lines(classify(server, "--file", str(first), "--file", str(second)))
    assert [answer.split("\t")[2] for answer in answers][::2] == ["one", "three"]
    missing = classify(server, "--file", str(first), "--file", "/nowhere/x")
    assert (missing.returncode, missing.stdout) == (2, b"")


def test_a_call_that_a_stopping_server_ends_is_told_as_that() -> None:
    script = "import sys; from text_classifier.cli import main; sys.exit(main())"
    for service in failing_service():
        command = [sys.executable, "-c", script, "classify", "--model", "m", "--address", service.address, "-"]
        typing = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert typing.stdin
        assert typing.stdout
        typing.stdin.write(b"film\n")
        typing.stdin.flush()
        assert typing.stdout.readline()
    with typing:
        assert typing.stderr
        (line,) = typing.stderr.read().decode().splitlines()
        assert "is stopping, and has ended the call" in line
        assert typing.wait(60) == 1


def test_an_answer_comes_before_the_next_line_is_typed(server: ServerProcess) -> None:
    script = "import sys; from text_classifier.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", script, "classify", "--model", "topic", "--address", server.address, "-"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as typing:
        assert typing.stdin
        assert typing.stdout
        for _ in range(3):
            typing.stdin.write(b"dull film\n")
            typing.stdin.flush()
            assert typing.stdout.readline().endswith(b"dull film\n")
        typing.stdin.close()
        assert typing.wait(60) == 0


def test_models_are_listed(server: ServerProcess) -> None:
    header, first, second, last = lines(run("models", address=server.address))
    assert header.split()[:3] == ["MODEL", "VERSION", "STATE"]
    assert first.startswith("sentiment  1        available, in service")
    assert [model["name"] for model in objects(run("models", "--json", address=server.address))] == [
        "sentiment",
        "topic",
    ]
    assert second.split()[0] == "topic"
    assert last == f"server: version {__version__}, {server.event('started')['transport']} transport"


def test_models_say_why_a_version_is_refused(tiny_models: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_models / "topic", tmp_path / "topic")
    shutil.copytree(tmp_path / "topic" / "1", tmp_path / "topic" / "2")
    (tmp_path / "topic" / "2" / "assets" / "labels.txt").write_text("")
    with serving(tmp_path) as running:
        _, _, second, reason, _ = lines(run("models", address=running.address))
    assert second.split()[:3] == ["topic", "2", "failed"]
    assert "labels.txt" in reason


def test_json_keeps_labels_and_words_of_every_script(server: ServerProcess) -> None:
    (line,) = lines(classify(server, "--json", "--explain", "영화 grain"))
    assert "영화" in line


@pytest.mark.parametrize(
    ("arguments", "given", "status", "says"),
    [
        (["--model", "nobody", "x"], b"", 1, "NOT_FOUND: models/nobody not found: available are sentiment, topic"),
        ([], b"", 2, "no text: give texts, or --file FILE, or - for standard input"),
        (["--file", "/nowhere/x", "text"], b"", 2, "not both"),
        (["--file", "/nowhere/x"], b"", 2, "--file: cannot read /nowhere/x: No such file or directory"),
        (["-"], b"good\nbad \xff\n", 2, "standard input, line 2: not UTF-8"),
        ([b"\xff"], b"", 2, "text 1: not UTF-8"),
        (["good", "x" * 2000], b"", 1, "INVALID_ARGUMENT: text 2: has 2000 bytes; at most 1000"),
        (["-"], b"good\n\n" + b"x" * 2000, 1, "INVALID_ARGUMENT: standard input, line 3: has 2000 bytes; at most 1000"),
        (["--tls-ca", "/nowhere/x", "text"], b"", 2, "--tls-ca: cannot read /nowhere/x"),
    ],
)
def test_an_error_is_one_line_that_says_what_to_do(
    server: ServerProcess, arguments: list[str | bytes], given: bytes, status: int, says: str
) -> None:
    done = classify(server, *arguments, given=given)
    assert done.returncode == status
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith("text-classifier: error: ")
    assert says in line


def test_the_command_tells_its_version() -> None:
    assert lines(run("--version", address="")) == [f"text-classifier {__version__}"]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--top-k", "-1"),
        ("--top-k", str(2**31)),
        ("--model-version", str(2**63)),
        ("--timeout", "0"),
        ("--timeout", "nan"),
        ("--timeout", "1e12"),
        ("--timeout", "1e300"),
        ("--model", b"\xff"),
    ],
)
def test_an_option_that_cannot_be_sent_is_wrong_usage(option: str, value: str | bytes) -> None:
    done = run("classify", "--model", "topic", option, value, "x", address="127.0.0.1:1")
    assert done.returncode == 2
    assert f"error: argument {option}: ".encode() in done.stderr
    assert b"Traceback" not in done.stderr


def test_a_number_that_is_too_large_is_refused_with_the_largest_one() -> None:
    done = run("classify", "--model", "topic", "--top-k", str(2**31), "x", address="127.0.0.1:1")
    assert f"{2**31}' is not an integer from 0 to {2**31 - 1}".encode() in done.stderr


def test_wrong_usage_is_one_line_that_names_the_help() -> None:
    for arguments in (["classify"], ["models", "--nonsense"], ["nonsense"], []):
        done = run(*arguments, address="127.0.0.1:1")
        assert done.returncode == 2
        (line,) = done.stderr.decode().splitlines()
        assert line.startswith("text-classifier: error: ")
        assert line.endswith(" --help")


@pytest.mark.parametrize(
    ("address", "says"),
    [("localhost", "has no port, and gRPC would take 443"), ("http://localhost:8080", "is a URL: give host and port")],
)
def test_a_wrong_address_is_one_line_that_says_what_is_right(address: str, says: str) -> None:
    done = run("models", address=address)
    assert done.returncode == 2
    (line,) = done.stderr.decode().splitlines()
    assert says in line


def test_the_ports_of_http_and_metrics_are_told_as_that(server: ServerProcess) -> None:
    for address in (server.http, f"127.0.0.1:{server.event('metrics')['port']}"):
        line = failure(run("models", "--timeout", "60", address=address))
        assert "speaks HTTP, not gRPC: give the server's gRPC port" in line


def test_tls_on_one_side_only_and_an_untrusted_certificate_are_told_as_that(
    server: ServerProcess, tmp_path: Path
) -> None:
    known, unknown = trustme.CA(), trustme.CA()
    certificate = known.issue_cert("127.0.0.1")
    for authority, name in ((known, "known.pem"), (unknown, "unknown.pem")):
        authority.cert_pem.write_to_path(tmp_path / name)
    trusted, other = (("--tls-ca", str(tmp_path / name)) for name in ("known.pem", "unknown.pem"))
    pair = (certificate.private_key_pem.bytes(), certificate.cert_chain_pems[0].bytes())
    mutual = grpc.ssl_server_credentials([pair], known.cert_pem.bytes(), require_client_auth=True)
    one_sided = grpc.ssl_server_credentials([pair])
    for encrypted in failing_service(one_sided):
        assert "seems to use TLS: add --tls" in failure(run("models", address=encrypted.address))
        assert "not trusted: name the file of its authority with --tls-ca FILE" in failure(
            run("models", *other, address=encrypted.address)
        )
    elsewhere = known.issue_cert("elsewhere.test")
    pair_elsewhere = (elsewhere.private_key_pem.bytes(), elsewhere.cert_chain_pems[0].bytes())
    for misnamed in failing_service(grpc.ssl_server_credentials([pair_elsewhere])):
        assert "is not for the host of 127.0.0.1:" in failure(run("models", *trusted, address=misnamed.address))
    for strict in failing_service(mutual):
        assert "set --tls-cert and --tls-key" in failure(run("models", *trusted, address=strict.address))
    assert "does not speak TLS: leave out --tls" in failure(run("models", "--tls", address=server.address))


def test_a_timeout_after_some_answers_says_how_many_came() -> None:
    for service in failing_service():
        service.stream_answers = 2
        arguments = ("classify", "--model", "m", "--timeout", "60", "a", "b")
        assert len(lines(run(*arguments, address=service.address))) == 2
        done = run(*arguments, "c", address=service.address)
        assert len(done.stdout.splitlines()) == 2
        assert f"only 2 answers from {service.address} in time: increase --timeout" in failure(done)


def test_more_texts_than_a_request_holds_are_classified(server: ServerProcess) -> None:
    assert len(lines(classify(server, *["film"] * 1100))) == 1100


def test_a_text_cannot_break_its_line_or_reach_the_terminal(server: ServerProcess) -> None:
    first, _ = lines(classify(server, "a\tb\033[31m\nc", "film"))
    assert first.endswith("\ta b [31m c")


def test_a_character_that_the_output_lacks_is_escaped(server: ServerProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    done = classify(server, "-", given="日本\n".encode())
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.endswith(b"\t\\u65e5\\u672c\n")


def test_the_lines_before_a_wrong_one_are_answered(server: ServerProcess) -> None:
    done = classify(server, "-", given=b"film\nfilm\nbad \xff\n")
    assert done.returncode == 2
    assert len(done.stdout.splitlines()) == 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [(["--model", "nobody"], b"NOT_FOUND"), (["--timeout", "0.5"], b"in time: increase --timeout")],
)
def test_an_error_ends_it_although_more_could_be_typed(
    server: ServerProcess, arguments: list[str], says: bytes
) -> None:
    script = "import sys; from text_classifier.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", script, "classify", "--model", "topic", "--address", server.address, *arguments]
    pipe = subprocess.PIPE
    with subprocess.Popen([*command, "-"], stdin=pipe, stdout=pipe, stderr=pipe) as typing:
        assert typing.stdin
        assert typing.stderr
        typing.stdin.write(b"film\n")
        typing.stdin.flush()
        (line,) = typing.stderr.read().splitlines()
        assert says in line
        assert typing.wait(60) == 1


def test_an_interrupt_ends_it_quietly(server: ServerProcess) -> None:
    # A shell that runs the tests in the background makes them ignore SIGINT.
    script = "import sys; from text_classifier.cli import main; sys.exit(main())"
    command = [
        "env",
        "--default-signal=INT",
        sys.executable,
        "-c",
        script,
        "classify",
        "--model",
        "topic",
        "--address",
        server.address,
        "-",
    ]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe) as typing:
        assert typing.stdin
        assert typing.stdout
        assert typing.stderr
        typing.stdin.write(b"film\n")
        typing.stdin.flush()
        typing.stdout.readline()
        typing.send_signal(signal.SIGINT)
        assert typing.stderr.read() == b""
        assert typing.wait(60) == 130


@pytest.mark.parametrize("arguments", [["models"], ["classify", "--model", "topic", "x"]])
def test_closed_standard_output_is_an_error_in_one_line(arguments: list[str]) -> None:
    script = "import sys; from text_classifier.cli import main; sys.exit(main())"
    command = ["sh", "-c", 'exec "$@" >&-', "sh", sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, stderr=subprocess.PIPE, check=False, timeout=120)
    assert done.returncode == 2
    assert done.stderr == b"text-classifier: error: standard output is closed: redirect it to a file or /dev/null\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_output_that_cannot_be_written_is_an_error(server: ServerProcess) -> None:
    script = "import sys; from text_classifier.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", script, "models", "--address", server.address]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 1
    assert done.stderr == b"text-classifier: error: cannot read or write: No space left on device\n"


def test_a_file_without_certificates_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("no certificate")
    done = run("classify", "--model", "topic", "--tls-ca", str(file), "x", address="127.0.0.1:1")
    assert done.returncode == 2
    assert b"ca.pem contains no PEM certificate" in done.stderr


def test_a_server_that_is_not_there_is_named_with_how_to_start_one() -> None:
    done = run("classify", "--model", "topic", "x", address="127.0.0.1:1")
    assert done.returncode == 1
    assert b"no answer from 127.0.0.1:1" in done.stderr
    assert b"check that the server runs there, or set --address" in done.stderr


def test_a_reader_that_has_enough_ends_it_quietly(server: ServerProcess, tmp_path: Path) -> None:
    file = tmp_path / "texts.txt"
    file.write_text("a film\n" * 20_000)
    script = "import sys; from text_classifier.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", script, "classify", "--model", "topic", "--address", server.address]
    with subprocess.Popen([*command, "--file", str(file)], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as reading:
        assert reading.stdout
        assert reading.stderr
        reading.stdout.readline()
        reading.stdout.close()
        assert reading.stderr.read() == b""
        assert reading.wait(60) == 0
