"""The command on a real Ray cluster."""

import csv
import gzip
import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from benchmarks.processes import family
from bulk.cli import main
from tests.bulk.conftest import Cluster, node, started
from tests.server_process import ROOT
from tests.tiny_model import WORDS
from textmodel import VersionFolder, load_engine

TEXTS = ["the moving film", "!", 'dull, "dull"\nand don\'t!', "café \0 İstanbul 😀", "a film"]


@pytest.fixture(scope="module")
def model(tiny_models: Path) -> Path:
    return tiny_models / "topic"


def _answers(model: Path, texts: Sequence[str]) -> list[tuple[str, float]]:
    """What the engine itself says: labels, and their probabilities as float32."""
    probabilities = load_engine(model / "1").classify(texts).probabilities
    labels = VersionFolder(model / "1").labels
    return [(labels[row.argmax()], float(row.max())) for row in probabilities]


def _read(path: Path) -> list[dict[str, Any]]:
    """The rows of an output, with the probability as the float that it says."""
    if path.suffix == ".parquet":
        rows = parquet.read_table(path).to_pylist()
    else:
        content = path.read_bytes()
        text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
        if ".jsonl" in path.suffixes:
            rows = [json.loads(line) for line in text.splitlines()]
        else:
            rows = list(
                csv.DictReader(text.splitlines(keepends=True), delimiter="\t" if ".tsv" in path.suffixes else ",")
            )
    return [row | {"probability": float(row["probability"])} for row in rows]


def _expected(model: Path, rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    rows = list(rows)
    answers = _answers(model, [row["text"] for row in rows])
    return [
        row | {"label": label, "probability": pytest.approx(probability, rel=1e-6)}
        for row, (label, probability) in zip(rows, answers, strict=True)
    ]


def _write_inputs(folder: Path) -> None:
    """A file of each format with `TEXTS`, numbered, and what a folder has beside them."""
    folder.mkdir()
    numbers = range(len(TEXTS))
    days = [date(2026, 1, 1 + number) for number in numbers]
    table = pa.table({"n": pa.array(numbers, pa.int8()), "text": TEXTS, "day": days})
    parquet.write_table(table, folder / "parquet.parquet")
    for name, delimiter in (("a.csv", ","), ("b.tsv", "\t")):
        with (folder / name).open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, delimiter=delimiter).writerows([("n", "text"), *enumerate(TEXTS)])
    lines = [json.dumps({"n": number, "text": text, "more": [1.50, None]}) for number, text in enumerate(TEXTS)]
    (folder / "json.ndjson").write_text("\n".join(lines))
    (folder / "deep").mkdir()
    (folder / "deep" / "lines.txt.gz").write_bytes(gzip.compress(b"one film\r\n\nmoving"))
    (folder / "README.md").touch()
    (folder / ".hidden.csv").touch()


@pytest.mark.parametrize("ending", [None, "parquet", "csv", "jsonl"])
def test_each_format_becomes_each_format_with_the_answers_of_the_engine(
    ending: str | None, cluster: Cluster, model: Path, tmp_path: Path
) -> None:
    _write_inputs(tmp_path / "in")
    out = tmp_path / "out"
    form = ["--format", ending] if ending else []
    assert (
        main(["--model", str(model), "--output", str(out), str(tmp_path / "in"), "--address", cluster.address, *form])
        == 0
    )
    text_file = f"deep/lines.{ending or 'jsonl'}{'' if ending == 'parquet' else '.gz'}"
    names = {kind: f"{kind}.{ending or default}" for kind, default in DEFAULTS.items()} | {"text": text_file}
    written = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert written == {*names.values(), "manifest.jsonl", f"rejected/{text_file}.jsonl"}
    plain = [{"n": number, "text": text} for number, text in enumerate(TEXTS)]
    strings = [row | {"n": str(row["n"])} for row in plain]
    days = [date(2026, 1, 1 + number) for number in range(len(TEXTS))]
    is_text = ending == "csv"
    assert _read(out / names["a"]) == _read(out / names["b"]) == _expected(model, strings)
    shown = [row | {"more": "[1.5, null]"} for row in strings]
    objects = [row | {"more": [1.5, None]} for row in plain]
    assert _read(out / names["json"]) == _expected(model, objects if ending in (None, "jsonl") else shown)
    typed: list[dict[str, Any]] = [row | {"day": day} for row, day in zip(plain, days, strict=True)]
    if ending in ("csv", "jsonl"):
        typed = [row | {"day": str(row["day"]), "n": str(row["n"]) if is_text else row["n"]} for row in typed]
    assert _read(out / names["parquet"]) == _expected(model, typed)
    assert _read(out / names["text"]) == _expected(model, [{"text": text} for text in ("one film", "moving")])


DEFAULTS = {"a": "csv", "b": "tsv", "json": "jsonl", "parquet": "parquet"}


def test_unreadable_rows_are_rejected_and_unreadable_files_have_no_output(
    cluster: Cluster, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    invalid = pa.Array.from_buffers(pa.string(), 3, pa.array([b"ok", b"\xff", b"x"]).buffers())
    parquet.write_table(pa.table({"text": invalid, "n": [1, 2, 3]}), tmp_path / "a.parquet")
    parquet.write_table(pa.table({"text": ["a", None]}), tmp_path / "b.parquet")
    (tmp_path / "c.csv").write_bytes(b'text,n\na,1\nb\n\xff,2\n"c\nd",3\n"e"f,4\n')
    objects = [
        b'{"text": "a"}',
        b'{"text": 1}',
        b'{"n": 1}',
        b"{",
        b'{"text": "b", "label": 1}',
        b'{"text": "c", "n": 1}',
    ]
    (tmp_path / "d.jsonl").write_bytes(b"\n".join(objects))
    (tmp_path / "e.csv.gz").write_bytes(gzip.compress(b"text\n" + os.urandom(9999).hex().encode())[:-100])
    (tmp_path / "f.csv").write_bytes(b"body\n")
    (tmp_path / "g.jsonl").write_bytes(b'{"text": "a", "label": "b"}')
    (tmp_path / "h.parquet").write_bytes(b"PAR1")
    parquet.write_table(pa.table({"text": [1]}), tmp_path / "i.parquet")
    out = tmp_path / "out"
    inputs = [str(path) for path in sorted(tmp_path.iterdir())]
    assert main(["--model", str(model), "--output", str(out), "--address", cluster.address, *inputs]) == 1
    for name, kept in (
        ("a.parquet", ["ok", "x"]),
        ("b.parquet", ["a"]),
        ("c.csv", ["a", "c\nd"]),
        ("d.jsonl", ["a", "c"]),
    ):
        assert [row["text"] for row in _read(out / name)] == kept
    rejected = {path.name: _lines(path) for path in (out / "rejected").iterdir()}
    assert {name: [row.get("line", row.get("row")) for row in rows] for name, rows in rejected.items()} == {
        "a.parquet.jsonl": [2],
        "b.parquet.jsonl": [2],
        "c.csv.jsonl": [3, 4, 7],
        "d.jsonl.jsonl": [2, 3, 4, 5],
    }
    assert rejected["a.parquet.jsonl"] == [
        {"file": str(tmp_path / "a.parquet"), "row": 2, "reason": "not UTF-8 (invalid start byte 0xff)"}
    ]
    assert "choose another name" in rejected["d.jsonl.jsonl"][-1]["reason"]
    assert not [path for path in out.iterdir() if path.name[0] in "efghi."]
    shown, error = capsys.readouterr()
    for reason in (
        "not a whole gzip",
        "no column 'text'",
        "a column 'label' already",
        "not a whole Parquet",
        "not strings",
    ):
        assert reason in shown
    assert "Rejected 9 rows: " in shown
    assert error == "text-classifier-bulk: error: no output for 5 files: the lines above give the reasons\n"


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


FILES, ROWS = 6, 20_000


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of large files."""
    folder = tmp_path_factory.mktemp("many")
    for file in range(FILES):
        with (folder / f"{file}.jsonl").open("w") as lines:
            texts = [
                " ".join(WORDS[(number * prime + file) % len(WORDS)] for prime in range(60))
                for number in range(len(WORDS))
            ]
            lines.writelines(
                json.dumps({"n": number, "text": texts[number % len(texts)]}) + "\n" for number in range(ROWS)
            )
    return folder


def _command(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "bulk", *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _check_all(out: Path, many: Path, model: Path) -> None:
    for file in range(FILES):
        labels, probabilities = _answers_of_file(model, many / f"{file}.jsonl")
        outputs = _lines(out / f"{file}.jsonl")
        assert [row["n"] for row in outputs] == list(range(ROWS))
        assert [row["label"] for row in outputs] == labels
        np.testing.assert_allclose([row["probability"] for row in outputs], probabilities, rtol=1e-6)


@cache
def _answers_of_file(model: Path, file: Path) -> tuple[list[str], list[float]]:
    labels, probabilities = zip(*_answers(model, [row["text"] for row in _lines(file)]), strict=True)
    return list(labels), list(probabilities)


def test_a_killed_worker_is_replaced_and_every_row_is_classified_once(many: Path, model: Path, tmp_path: Path) -> None:
    run = _command("--model", model, "--output", tmp_path, "--workers", 2, many)
    assert run.stdout
    next(line for line in run.stdout if "20,000 rows" in line)
    os.kill(_workers(run.pid)[0], signal.SIGKILL)  # on a busy machine the other may yet have to begin
    shown, error = run.communicate(timeout=300)
    assert (run.returncode, error) == (0, "")
    assert f"Classified {FILES * ROWS:,} rows" in shown
    _check_all(tmp_path, many, model)


def test_the_same_command_runs_on_all_nodes_of_a_cluster(
    cluster: Cluster, many: Path, model: Path, tmp_path: Path
) -> None:
    run = _command("--model", model, "--output", tmp_path, "--address", cluster.address, many)
    assert run.stdout
    next(line for line in run.stdout if all(map(_workers, cluster.nodes)))
    shown, error = run.communicate(timeout=300)
    assert (run.returncode, error) == (0, "")
    assert f"Classified {FILES * ROWS:,} rows" in shown
    _check_all(tmp_path, many, model)


def test_a_node_without_the_model_or_an_input_is_named_before_work_starts(
    cluster: Cluster, many: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    command = ["--model", str(model), "--output", str(out), "--address", cluster.address, str(many)]
    for hidden, lacks in ((model, f"{model}/1/assets.extra/metadata.json: "), (many, f"{many}/0.jsonl: ")):
        script = f'mount -t tmpfs none "{hidden}" && exec "$@"'
        within = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]
        if subprocess.run([*within, "true"], check=False).returncode:
            pytest.skip("needs the right to make a namespace of mounts")
        with node(f"--address={cluster.address}", within=within) as other:
            started(other)
            assert main(command) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert lacks in error
        assert "each machine of the cluster needs" in error
        assert [path.name for path in out.iterdir()] == ["manifest.jsonl"]


def test_a_missing_token_is_reported_in_one_line(cluster: Cluster, model: Path, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text\n")
    arguments = [f"--model={model}", f"--output={tmp_path}/out", f"--address={cluster.address}"]
    run = subprocess.run(
        [sys.executable, "-m", "bulk", *arguments, f"{tmp_path}/a.csv"],
        cwd=ROOT,
        env=os.environ | {"RAY_AUTH_MODE": "disabled", "RAY_NUM_REDIS_GET_RETRIES": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1
    assert run.stderr.startswith("text-classifier-bulk: error: the cluster requires a token: set RAY_AUTH_MODE=token")
    assert run.stderr.count("\n") == 1


def test_a_killed_run_resumes_without_repeating_finished_files(
    cluster: Cluster, many: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--model", str(model), "--output", str(tmp_path), "--address", cluster.address, str(many)]
    run = _command(*arguments)
    assert run.stdout
    for _ in range(2):  # files end in any order
        next(line for line in run.stdout if "20,000 rows" in line)
    run.kill()
    run.communicate()
    finished = {path: path.stat() for path in tmp_path.glob("[0-9].jsonl")}
    assert 2 <= len(finished) < FILES
    assert main(arguments) == 0
    assert re.search(rf"finished already: \d of {FILES} files", capsys.readouterr().out)
    whole = len((tmp_path / "manifest.jsonl").read_text().splitlines()) - 1
    assert whole == FILES
    again = [path for path, status in finished.items() if path.stat().st_ino != status.st_ino]
    assert len(again) <= 1  # that which the manifest did not hold yet
    assert not list(tmp_path.glob(".*"))
    _check_all(tmp_path, many, model)
    # Nothing is left to do, until an input changes.
    assert main(arguments) == 0
    assert capsys.readouterr().out == f"finished already: {FILES} of {FILES} files\n"


def test_a_terminal_shows_a_bar(cluster: Cluster, many: Path, model: Path, tmp_path: Path) -> None:
    arguments = [f"--model={model}", f"--address={cluster.address}", f"--output={tmp_path}/bar", f"{many}/0.jsonl"]
    ours, theirs = pty.openpty()
    run = subprocess.Popen([sys.executable, "-m", "bulk", *arguments], cwd=ROOT, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    with suppress(OSError):  # the other side is closed
        while more := os.read(ours, 1 << 16):
            shown += more
    os.close(ours)
    assert run.wait() == 0
    assert f"Connecting to {cluster.address}" in shown.decode()
    assert "━ " in re.sub("\x1b[^m]*m", "", shown.decode())
    assert b"  read " not in shown
    *_, last = re.sub(r"\x1b\[[^A-Za-z]*[A-Za-z]|\r", "", shown.decode()).splitlines()
    assert last == f"Classified 20,000 rows of 1 file into {tmp_path / 'bar'}"


def test_no_memory_grows_with_the_file_and_what_is_no_terminal_gets_plain_lines(
    cluster: Cluster, model: Path, tmp_path: Path
) -> None:
    block = "".join(json.dumps({"text": "moving film " * 100}) + "\n" for _ in range(1000))
    with (tmp_path / "large.jsonl").open("w") as lines:
        lines.writelines(block for _ in range(125))  # 150 MB
    run = _command(
        "--model", model, "--output", tmp_path / "out", "--address", cluster.address, tmp_path / "large.jsonl"
    )
    assert run.stdout
    roots, shown, memory = (run.pid, *cluster.nodes), [], []
    for line in run.stdout:
        shown.append(line)
        if line.startswith("  read "):
            memory.append(max(_memory(process) for root in roots for process in family(root)))
    assert (run.wait(), run.stderr and run.stderr.read()) == (0, "")
    assert shown[0] == "Classifying 1 file\n"
    assert "\x1b" not in "".join(shown)
    assert len(memory) == 10
    assert max(memory) < min(memory) + 75_000_000


def _memory(pid: int) -> int:
    """Bytes of a process's own memory."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return 0
    return 1024 * next((int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon")), 0)


def _workers(pid: int) -> list[int]:
    return [each for each in family(pid) if "MapWorker(MapBatches(FileClassifier))" in _title(each)]


def _title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode().replace("\0", " ")
    except FileNotFoundError:
        return ""
