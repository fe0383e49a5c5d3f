"""The command `text-classifier`: classifies texts on a server, from a shell."""

import argparse
import io
import json
import os
import ssl
import sys
from collections import deque
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import BinaryIO, NamedTuple

# gRPC reads this when it is imported. Otherwise its own messages would precede the command's error.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import grpc

from text_classifier import __version__
from text_classifier.advice import explain
from text_classifier.arguments import Parser
from text_classifier.calls import DEFAULT_ADDRESS, DEFAULT_TIMEOUT
from text_classifier.client import Client
from text_classifier.highlighting import coloured, coloured_output, printable
from text_classifier.results import Classification, Model
from text_classifier.targets import MAX_TIMEOUT

_SHOWN = 60
"""Maximum number of characters of a text beside its label."""


class UsageError(Exception):
    """The input is wrong. The message says what to do."""


class _Text(NamedTuple):
    """A text to classify."""

    text: str
    place: str
    """Where it stands, for errors."""


def main() -> int:
    """Runs the command.

    Returns:
        The exit status: 0 success, 1 an error of the server or of a file, 2 wrong input, 130 interrupted.
    """
    options = parser().parse_args(namespace=argparse.Namespace(answers=0, sent=deque()))
    if sys.stdout is None:
        return _fail("standard output is closed: redirect it to a file or /dev/null", 2)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # for characters that are not in the terminal's encoding
    try:
        with _client(options) as client:
            options.run(client, options)
            sys.stdout.flush()
    except UsageError as error:
        return _fail(str(error), 2)
    except grpc.RpcError as error:
        places = [text.place for text in options.sent]
        reason = explain(error, options.address, encrypted=_encrypted(options), answers=options.answers, places=places)
        return _fail(reason, 1)
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        # The rest of the buffer cannot be written either, so Python must not try to write it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):  # the reader, such as head, has closed the pipe
            return _fail(f"cannot read or write: {error.strerror}", 1)
    return 0


def parser() -> argparse.ArgumentParser:
    """Returns the command's parser."""
    whole = Parser(prog="text-classifier", description="Classifies texts on a text-classifier-server.")
    whole.add_argument("--version", action="version", version=f"text-classifier {__version__}")
    commands = whole.add_subparsers(required=True, metavar="COMMAND")
    common = _common_options()
    classify = commands.add_parser("classify", parents=[common], help="classify texts")
    classify.set_defaults(run=_classify)
    _add_classify_options(classify)
    models = commands.add_parser("models", parents=[common], help="list the server's models")
    models.set_defaults(run=_models)
    return whole


def _common_options() -> Parser:
    """Returns the options of all commands: how to reach the server, and the form of the output."""
    server = Parser(add_help=False)
    server.add_argument(
        "--address",
        metavar="HOST:PORT",
        default=os.environ.get("TEXT_CLASSIFIER_ADDRESS") or DEFAULT_ADDRESS,
        help=f"the server (default: $TEXT_CLASSIFIER_ADDRESS or {DEFAULT_ADDRESS})",
    )
    server.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=_seconds,
        help=f"deadline for all texts (default: {DEFAULT_TIMEOUT:g}; none for a file or standard input)",
    )
    server.add_argument("--tls", action="store_true", help="encrypt, trusting the system's certificate authorities")
    server.add_argument("--tls-ca", metavar="FILE", type=Path, help="encrypt, trusting the authorities of a PEM file")
    server.add_argument("--tls-cert", metavar="FILE", type=Path, help="mutual TLS: the client's PEM certificate")
    server.add_argument("--tls-key", metavar="FILE", type=Path, help="mutual TLS: the PEM key of --tls-cert")
    server.add_argument(
        "--token-file",
        metavar="FILE",
        type=Path,
        help="file with the bearer token (default: $TEXT_CLASSIFIER_TOKEN)",
    )
    server.add_argument("--json", action="store_true", help="print JSON, one object per line")
    return server


def _add_classify_options(classify: argparse.ArgumentParser) -> None:
    classify.add_argument(
        "texts", metavar="TEXT", nargs="*", help="text to classify; - alone: standard input, one text per line"
    )
    classify.add_argument(
        "--file",
        metavar="FILE",
        dest="files",
        action="append",
        default=[],
        help="file with one text per line; -: standard input; several: one after the other",
    )
    classify.add_argument("--model", metavar="NAME", type=_utf8, required=True, help="name of the model, e.g. imdb")
    classify.add_argument(
        "--model-version",
        metavar="N",
        type=_integer(64),
        default=0,
        help="its version (default: the one in service)",
    )
    classify.add_argument("--top-k", metavar="N", type=_integer(32), default=0, help="print the N most probable labels")
    classify.add_argument(
        "--explain",
        action="store_true",
        help="show the contribution of each word: in colour on a terminal, otherwise one line per word",
    )
    classify.add_argument(
        "--min-probability", metavar="P", type=_probability, default=0, help="mark answers below this as abstained"
    )
    classify.add_argument(
        "--use-thresholds",
        action="store_true",
        help="mark answers below the version's own threshold of their label as abstained",
    )


def _client(options: argparse.Namespace) -> Client:
    credentials, token = _credentials(options), _token(options)
    try:
        return Client(options.address, credentials=credentials, token=token, timeout=options.timeout or DEFAULT_TIMEOUT)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _credentials(options: argparse.Namespace) -> grpc.ChannelCredentials | None:
    authorities, certificate, key = (_read(options, name) for name in ("tls_ca", "tls_cert", "tls_key"))
    if (certificate is None) != (key is None):
        raise UsageError("mutual TLS needs both --tls-cert and --tls-key")
    if not _encrypted(options):
        return None
    # gRPC gives no reason if a file is wrong.
    context = ssl.create_default_context()
    if authorities:
        try:
            context.load_verify_locations(options.tls_ca)
        except ssl.SSLError as error:
            raise UsageError(f"--tls-ca: {options.tls_ca} contains no PEM certificate") from error
    if certificate:
        try:
            # Without an empty password OpenSSL would ask for one on the terminal.
            context.load_cert_chain(options.tls_cert, options.tls_key, password="")  # nosec B106
        except (ssl.SSLError, ValueError) as error:
            if "MISMATCH" in str(error):  # KEY_VALUES_MISMATCH or KEY_TYPE_MISMATCH
                raise UsageError("--tls-key: the key does not belong to the certificate of --tls-cert") from error
            raise UsageError("--tls-cert, --tls-key: not a PEM certificate and its key without password") from error
    return grpc.ssl_channel_credentials(authorities, key, certificate)


def _encrypted(options: argparse.Namespace) -> bool:
    return bool(options.tls or options.tls_ca or options.tls_cert)


def _token(options: argparse.Namespace) -> str | None:
    token = _read(options, "token_file")
    if token is None:
        return os.environ.get("TEXT_CLASSIFIER_TOKEN") or None
    return token.decode("utf-8-sig", errors="replace").strip()


def _read(options: argparse.Namespace, name: str) -> bytes | None:
    """Reads the file that an option names; None without the option."""
    path: Path | None = getattr(options, name)
    try:
        return path.read_bytes() if path else None
    except OSError as error:
        raise UsageError(f"--{name.replace('_', '-')}: cannot read {path}: {error.strerror}") from error


def _classify(client: Client, options: argparse.Namespace) -> None:
    sources = [*options.files, *(["-"] if options.texts == ["-"] else [])]
    sent: deque[_Text] = options.sent
    # This is a stream, since xargs may give more texts than one request can have.
    answers = client.classify_stream(
        _remembered(_texts(options.texts, sources), sent),
        model=options.model,
        version=options.model_version,
        top_k=options.top_k,
        explain=options.explain,
        min_probability=options.min_probability,
        use_thresholds=options.use_thresholds,
        timeout=options.timeout or (None if sources else DEFAULT_TIMEOUT),
    )
    alone = not sources and len(options.texts) == 1
    for answer in answers:
        text = sent.popleft().text
        if options.json:
            print(json.dumps(_object(answer), ensure_ascii=False))
        else:
            _print(answer, text, alone=alone)
        sys.stdout.flush()
        options.answers += 1


def _texts(given: list[str], sources: list[str]) -> Iterator[_Text]:
    """Returns the texts of the command line, or of the sources: files, or - for standard input."""
    if not sources:
        if not given:
            raise UsageError("no text: give texts, or --file FILE, or - for standard input")
        return iter(_checked(given))
    if given not in ([], ["-"]):
        raise UsageError("give texts or --file, not both")
    files = [(_open(source), "standard input" if source == "-" else source) for source in sources]
    return chain.from_iterable(_lines(file, name) for file, name in files)


def _remembered(texts: Iterator[_Text], sent: deque[_Text]) -> Iterator[str]:
    for text in texts:
        sent.append(text)
        yield text.text


def _models(client: Client, options: argparse.Namespace) -> None:
    models = client.models()
    if options.json:
        for model in models:
            shadow = model.shadow and model.shadow._asdict()
            values = {"state": model.state.name, "shadow": shadow, "server": models.server._asdict()}
            print(json.dumps({**model._asdict(), **values}, ensure_ascii=False))
        return
    rows = [("MODEL", "VERSION", "STATE", "CLASSES", "TEST ACCURACY", "TRAINED ON"), *map(_row, models)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row, reason in zip(rows, ("", *(model.state_reason for model in models)), strict=True):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        if reason:
            print(f"    {printable(reason)}")
    if models.server.transport:
        print(f"server: version {models.server.version}, {models.server.transport} transport")


def _row(model: Model) -> tuple[str, ...]:
    state = model.state.name.lower() + (", in service" if model.in_service else "") + _shadow(model)
    accuracy = f"{model.test_accuracy:.4f}" if model.labels else ""
    texts = (model.name, str(model.version), state, str(len(model.labels) or ""), accuracy, model.trained_on)
    return tuple(map(printable, texts))


def _shadow(model: Model) -> str:
    if not model.shadow:
        return ""
    texts, agreements = model.shadow
    if not texts:
        return ", shadow: no text yet"
    return f", shadow: agrees on {agreements / texts:.2%} of {texts:,} text{'' if texts == 1 else 's'}"


def _object(answer: Classification) -> dict[str, object]:
    values = {**answer._asdict(), "scores": {score.label: score.probability for score in answer.scores}}
    explanation = values.pop("explanation")
    if explanation:
        values["explanation"] = {"bias": explanation.bias, "words": [word._asdict() for word in explanation.words]}
    return values


def _print(answer: Classification, text: str, *, alone: bool) -> None:
    """Prints an answer, with its explanation if there is one. Prints its text too, unless that is the only one."""
    explanation = answer.explanation
    if explanation and coloured_output(sys.stdout):
        _print_line(answer, None)
        print(coloured(text, explanation.words))
        return
    _print_line(answer, None if alone else text)
    for word in explanation.words if explanation else ():
        print(f"\t{printable(word.word)}\t{word.contribution:+.4f}")


def _print_line(answer: Classification, text: str | None) -> None:
    scored = answer.scores or ((answer.label, answer.probability),)
    columns = [f"{printable(label)}\t{probability:.4f}" for label, probability in scored]
    if answer.abstained:
        columns[0] += "\tabstained"
    if text is not None:
        shown = text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
        columns.append(printable(shown))
    print("\t".join(columns))


def _open(source: str) -> BinaryIO:
    """Opens a file, or standard input for "-".

    It stays open until the process ends: a thread of gRPC may be reading from it, and `close` would wait for that read.
    For the same reason it is not `sys.stdin`, which Python closes at exit.
    """
    if source != "-":
        try:
            return Path(source).open("rb")
        except OSError as error:
            raise UsageError(f"--file: cannot read {source}: {error.strerror}") from error
    if sys.stdin is None:
        raise UsageError("standard input is closed")
    return os.fdopen(sys.stdin.fileno(), "rb", closefd=False)


def _lines(file: BinaryIO, name: str) -> Iterator[_Text]:
    """Yields lines as they arrive, without line ends."""
    for number, line in enumerate(file, 1):
        place = f"{name}, line {number}"
        try:
            text = line.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise UsageError(f"{place}: not UTF-8 ({error.reason}): convert it, for example with iconv") from error
        yield _Text(text, place)


def _checked(texts: list[str]) -> list[_Text]:
    checked = [_Text(text, f"text {number}") for number, text in enumerate(texts, 1)]
    for text, place in checked:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise UsageError(f"{place}: not UTF-8; check the terminal's encoding") from error
    return checked


def _utf8(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise argparse.ArgumentTypeError("not UTF-8") from error
    return value


def _integer(bits: int) -> Callable[[str], int]:
    def parse(value: str) -> int:
        limit = 2 ** (bits - 1)
        if not value.isdecimal() or len(value) > 20 or int(value) >= limit:
            raise argparse.ArgumentTypeError(f"{value!r} is not an integer from 0 to {limit - 1}")
        return int(value)

    return parse


def _seconds(value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = 0
    if not 0 < seconds <= MAX_TIMEOUT:
        raise argparse.ArgumentTypeError(f"{value!r} is not a number of seconds above 0, at most {MAX_TIMEOUT:.0f}")
    return seconds


def _probability(value: str) -> float:
    try:
        probability = float(value)
    except ValueError:
        probability = -1
    if not 0 <= probability <= 1:
        raise argparse.ArgumentTypeError(f"{value!r} is not a number from 0 to 1")
    return probability


def _fail(message: str, status: int) -> int:
    print(f"text-classifier: error: {printable(message)}", file=sys.stderr)
    return status
