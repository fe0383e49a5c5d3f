"""The command `text-classifier`: classifies texts on a server, from a shell."""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import grpc

from text_classifier.calls import DEFAULT_ADDRESS, DEFAULT_TIMEOUT
from text_classifier.client import Client
from text_classifier.results import Classification, Model

_SHOWN = 60
"""Characters of a text that are shown beside its label."""


class InputError(Exception):
    """What the user gave cannot be sent. The text says what to do."""


def main() -> int:
    """Runs the command. Returns the exit status: 0, 1 when the server refuses, 2 for wrong input, 130 interrupted."""
    options = _parser().parse_args()
    try:
        with _client(options) as client:
            options.run(client, options)
            sys.stdout.flush()
    except InputError as error:
        return _fail(str(error), 2)
    except grpc.RpcError as error:
        return _fail(_explain(error, options.address), 1)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader, e.g. head, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _parser() -> argparse.ArgumentParser:
    server = argparse.ArgumentParser(add_help=False)
    server.add_argument(
        "--address",
        metavar="HOST:PORT",
        default=os.environ.get("TEXT_CLASSIFIER_ADDRESS", DEFAULT_ADDRESS),
        help=f"the server (default: $TEXT_CLASSIFIER_ADDRESS or {DEFAULT_ADDRESS})",
    )
    server.add_argument(
        "--timeout", metavar="SECONDS", type=float, default=DEFAULT_TIMEOUT, help="(default: %(default)g)"
    )
    server.add_argument("--tls", action="store_true", help="encrypt, trusting the system's certificate authorities")
    server.add_argument("--tls-ca", metavar="FILE", type=Path, help="encrypt, trusting the authorities of a PEM file")
    server.add_argument("--json", action="store_true", help="print JSON, one object a line")

    parser = argparse.ArgumentParser(
        prog="text-classifier", description="Classifies texts on a text-classifier-server."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    classify = commands.add_parser("classify", parents=[server], help="label texts")
    classify.set_defaults(run=_classify)
    classify.add_argument("texts", metavar="TEXT", nargs="*", help="a text; - alone: standard input, one text a line")
    classify.add_argument("--file", metavar="FILE", help="a file of one text a line; -: standard input")
    classify.add_argument("--model", metavar="NAME", required=True, help="the model, e.g. imdb")
    classify.add_argument("--model-version", metavar="N", type=int, default=0, help="(default: the one in service)")
    classify.add_argument("--top-k", metavar="N", type=int, default=0, help="print the N most probable labels")

    models = commands.add_parser("models", parents=[server], help="list the server's models")
    models.set_defaults(run=_models)
    return parser


def _client(options: argparse.Namespace) -> Client:
    credentials = None
    if options.tls or options.tls_ca:
        try:
            authorities = options.tls_ca.read_bytes() if options.tls_ca else None
        except OSError as error:
            raise InputError(f"--tls-ca: cannot read {options.tls_ca}: {error.strerror}") from error
        credentials = grpc.ssl_channel_credentials(authorities)
    return Client(options.address, credentials=credentials, timeout=options.timeout)


def _classify(client: Client, options: argparse.Namespace) -> None:
    about = {"model": options.model, "version": options.model_version, "top_k": options.top_k}
    source = "-" if options.texts == ["-"] else options.file
    if source is None:
        if not options.texts:
            raise InputError("no text: give texts, or --file FILE, or - for standard input")
        _check(options.texts)
        for text, answer in zip(options.texts, client.classify(options.texts, **about), strict=True):
            _print(answer, text if len(options.texts) > 1 else None, options.json)
        return
    if options.texts not in ([], ["-"]):
        raise InputError("give texts or --file, not both")
    with ExitStack() as stack:
        file = sys.stdin.buffer if source == "-" else stack.enter_context(_open(source))
        sent: list[str] = []

        def lines() -> Iterator[str]:
            for text in _lines(file, "standard input" if source == "-" else source):
                sent.append(text)
                yield text

        for answer in client.classify_stream(lines(), **about):
            _print(answer, sent.pop(0), options.json)
            sys.stdout.flush()


def _models(client: Client, options: argparse.Namespace) -> None:
    models = client.models()
    if options.json:
        for model in models:
            print(json.dumps({**model._asdict(), "state": model.state.name}, ensure_ascii=False))
        return
    rows = [("MODEL", "VERSION", "STATE", "CLASSES", "TEST ACCURACY", "TRAINED ON"), *map(_row, models)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _row(model: Model) -> tuple[str, ...]:
    state = model.state.name.lower() + (", in service" if model.in_service else "")
    accuracy = f"{model.test_accuracy:.4f}" if model.labels else ""
    return model.name, str(model.version), state, str(len(model.labels) or ""), accuracy, model.trained_on


def _print(answer: Classification, text: str | None, as_json: bool) -> None:
    if as_json:
        scores = {score.label: score.probability for score in answer.scores}
        print(json.dumps({**answer._asdict(), "scores": scores}, ensure_ascii=False))
        return
    scored = answer.scores or ((answer.label, answer.probability),)
    columns = [f"{label}\t{probability:.4f}" for label, probability in scored]
    if text is not None:
        columns.append(text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…")
    print("\t".join(columns))


def _open(path: str) -> BinaryIO:
    try:
        return Path(path).open("rb")
    except OSError as error:
        raise InputError(f"--file: cannot read {path}: {error.strerror}") from error


def _lines(file: BinaryIO, name: str) -> Iterator[str]:
    """Yields the lines as they come, without their end."""
    for number, line in enumerate(file, 1):
        try:
            yield line.removesuffix(b"\n").removesuffix(b"\r").decode()
        except UnicodeDecodeError as error:
            raise InputError(f"{name}, line {number}: not UTF-8 ({error.reason})") from error


def _check(texts: Sequence[str]) -> None:
    for number, text in enumerate(texts, 1):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InputError(f"text {number}: not UTF-8; check the terminal's encoding") from error


def _explain(error: grpc.RpcError, address: str) -> str:
    if error.code() is grpc.StatusCode.UNAVAILABLE:
        return f"no answer from {address}: {error.details()}; is the server running? Start one with `make serve`"
    return f"{error.code().name}: {error.details()}"


def _fail(message: str, status: int) -> int:
    print(f"text-classifier: error: {message}", file=sys.stderr)
    return status
