import csv
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from tests.full_disk import full_disk
from tests.mounts import with_mounts
from tests.training import made_up
from textmodel import VersionFolder, load_engine
from training.cli import main
from training.data import text_hashes
from training.settings import PRESETS

QUICK = ["--num-words", "30", "--epochs", "3", "--batch-size", "16", "--validation-samples", "12", "--layers", "6,4"]
EMBEDDING = ["--vectorizer", "embedding", "--sequence-length", "8", "--dimensions", "3"]


def _train(files: Path, models: Path, data_set: str, *options: str) -> int:
    return main([data_set, "--data-dir", str(files), "--models", str(models), *QUICK, *options])


def _names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def _refused(capsys: pytest.CaptureFixture[str], call: Callable[[], int]) -> str:
    """Returns the one line that a refused command says."""
    try:
        status = call()
    except SystemExit as exit_:
        status = int(exit_.code or 0)
    said = capsys.readouterr().err
    assert status == 2
    assert re.fullmatch(r"text-classifier-train: error: [^\n]+\n", said)
    return said


@pytest.mark.parametrize("data_set", ["imdb", "reuters"])
def test_the_ngram_preset_writes_a_calibrated_version_that_serves_in_every_engine(
    data_set: str, files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = ["--data-dir", str(files), "--models", str(tmp_path / "models")]
    options = ["--preset", "ngram", "--num-words", "30", "--min-count", "1", "--validation-samples", "20"]
    assert main([data_set, *places, *options]) == 0
    folder = VersionFolder(tmp_path / "models" / data_set / "1")
    classes = len(folder.labels)
    for engine in ("tensorflow", "compiled"):
        assert load_engine(folder.path, engine).classify(["a good film"]).probabilities.shape == (1, classes)
    card = (folder.report / "model_card.md").read_text()
    said = capsys.readouterr().out
    assert f"{folder.metadata.test_metrics.expected_calibration_error:.4f}" in card
    command = f"{data_set} --validation-samples 20 --preset ngram --num-words 30 --min-df 1 --data-dir DIR\n"
    assert f"text-classifier-train {command}" in card
    for report in (card, said):
        assert "expected calibration error before calibration" in report
        assert "fitting on all training texts" in report


class Trained(NamedTuple):
    """A first version, and what the run said."""

    folder: VersionFolder
    data: Path
    said: str


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Trained]:
    """Trains a model, once for all tests that ask for it. Its files are not to be changed."""

    @cache
    def train(data_set: str, *options: str) -> Trained:
        folder = tmp_path_factory.mktemp("trained")
        data = made_up.write_files(folder / "data")
        with redirect_stdout(StringIO()) as said:
            assert _train(data, folder / "models", data_set, "--name", "mine", *options) == 0
        return Trained(VersionFolder(folder / "models" / "mine" / "1"), data, said.getvalue())

    return train


@pytest.mark.parametrize("data_set", ["imdb", "reuters"])
@pytest.mark.parametrize("options", [[], EMBEDDING], ids=["multi-hot", "embedding"])
def test_a_run_writes_a_version_that_serves(data_set: str, options: list[str], trained: Callable[..., Trained]) -> None:
    folder, _, said = trained(data_set, *options)
    assert folder.metadata.name == "mine"
    assert _names(folder.path.parents[1]) == ["mine"]
    classes = len(folder.labels)
    assert classes == {"imdb": 2, "reuters": 46}[data_set]
    assert len(folder.vocabulary) == 30
    assert load_engine(folder.path).classify(["a good film"]).probabilities.shape == (1, classes)
    assert load_engine(folder.path, "tensorflow").classify(["a good film"]).probabilities.shape == (1, classes)
    assert [layer.units for layer in folder.metadata.network] == [6, 4, 1 if classes == 2 else classes]
    assert 20 <= len(folder.probes) <= 30
    assert _names(folder.report) == ["confusion.png", "curves.png", "model_card.md"]
    assert "epoch 3/3  loss " in said
    assert f"{folder.metadata.test_metrics.accuracy:.4f}" in said


def test_the_model_card_names_the_command_without_a_path_of_the_machine(trained: Callable[..., Trained]) -> None:
    folder, data, _ = trained("imdb", *EMBEDDING)
    card = (folder.report / "model_card.md").read_text()
    assert (
        "text-classifier-train imdb --layers 6,4 --validation-samples 12 --epochs 3 --batch-size 16 --num-words 30"
        " --vectorizer embedding --sequence-length 8 --embedding-dim 3 --name mine --data-dir DIR\n"
    ) in card
    for path in folder.path.rglob("*"):
        assert path.is_dir() or str(data.parent).encode() not in path.read_bytes()


OWN = ["--name", "a", "--data", "a.csv"]
TICKETS = ["--text-column", "body", "--label-column", "queue"]
ONE_TRIAL = ["--features", "words", "--max-ngram", "1", "--cost", "1", "--buckets", "4096"]


def _write_tickets(path: Path, count: int, queues: Sequence[str]) -> Path:
    """Writes a CSV file of tickets, sorted by queue, each with words of its queue."""
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "queue", "body"])
        for number in range(count):
            queue = queues[number * len(queues) // count]
            rows.writerow([number, queue, f"Ticket {number},\nabout {queue}: the {queue} does not work"])
    return path


@pytest.mark.parametrize(
    ("queues", "preset"),
    [
        (("billing", "US$ | [red]refund$"), ["--preset", "dense", "--epochs", "8", "--batch-size", "8"]),
        (("a", "b", "ć d", "e"), []),
    ],
)
def test_own_data_become_a_version_that_serves_their_labels(
    queues: tuple[str, ...],
    preset: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    tickets = _write_tickets(tmp_path / "tick ets.csv", 200, queues)
    options = [*preset, "--class-weights", "balanced"]
    assert main(["--name", "support", "--data", str(tickets), *TICKETS, "--models", str(tmp_path), *options]) == 0
    folder = VersionFolder(tmp_path / "support" / "1")
    assert folder.labels == tuple(sorted(queues))
    texts = [f"The {queue} is broken" for queue in folder.labels]
    for engine in ("compiled", "tensorflow"):
        winners = load_engine(folder.path, engine).classify(texts).probabilities.argmax(axis=1)
        assert winners.tolist() == list(range(len(queues)))
    data = folder.metadata.data_set
    assert (data.name, data.training_texts + data.test_texts) == ("tick ets.csv", 200)
    assert 27 <= data.test_texts <= 60
    hashes = text_hashes.read(folder.path)
    assert hashes is not None
    assert len(hashes) == data.training_texts
    assert len(folder.probes) >= 20
    assert _names(folder.report) == ["confusion.png", "curves.png", "model_card.md"]
    card = (folder.report / "model_card.md").read_text()
    assert (
        f"text-classifier-train {' '.join([*preset, ''])}--class-weights balanced --name support"
        " --data 'tick ets.csv' --text-column body --label-column queue --test-split 0.2\n"
    ) in card
    assert "| rows read | 200 |" in card
    said = capsys.readouterr().out
    for label in queues:
        escaped = re.sub(r"([][|$])", r"\\\1", label)
        assert re.search(rf"\| {re.escape(escaped)} \| \d+ \| [\d.]+ \| \d+ \| 1.000 \| 1.000 \| 1.000 \|", card)
        assert f"│ {label} " in said
    for path in folder.path.rglob("*"):
        assert path.is_dir() or str(tmp_path).encode() not in path.read_bytes()


def test_own_test_data_are_what_the_model_is_tested_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tickets, test = _write_tickets(tmp_path / "a.csv", 60, "ab"), _write_tickets(tmp_path / "b.csv", 30, "ba")
    places = ["--data", str(tickets), "--test-data", str(test), "--models", str(tmp_path)]
    options = ["--preset", "dense", "--epochs", "1", "--validation-split", "0.5"]
    assert main(["--name", "support", *places, *TICKETS, *options]) == 0
    data = VersionFolder(tmp_path / "support" / "1").metadata.data_set
    assert (data.training_texts, data.test_texts) == (60, 30)
    assert 20 <= data.validation_texts <= 45
    card = (tmp_path / "support" / "1" / "report" / "model_card.md").read_text()
    assert "--data a.csv --text-column body --label-column queue --test-data b.csv\n" in card
    said = capsys.readouterr().out
    assert f"Reading {tickets}" in said
    assert "test texts that are training texts too" in said


def test_class_weights_are_reported_for_each_class(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tickets = _write_tickets(tmp_path / "tickets.csv", 80, ["rare", "usual", "usual", "usual"])
    options = [*ONE_TRIAL, "--class-weights", "balanced", "--models", str(tmp_path)]
    assert main(["--name", "support", "--data", str(tickets), *TICKETS, *options]) == 0
    card = (tmp_path / "support" / "1" / "report" / "model_card.md").read_text()
    said = capsys.readouterr().out
    found = dict(re.findall(r"\| (rare|usual) \| (\d+) \| ", card))
    texts = sum(map(int, found.values()))
    for label in ("rare", "usual"):
        weight = f"{texts / (2 * int(found[label])):.3g}"
        assert f"| {label} | {found[label]} | {weight} | " in card
        assert re.search(rf"│ {label} +│ {found[label]} +│ {weight} +│", said)


def test_own_data_are_promoted_on_their_test_texts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tickets = _write_tickets(tmp_path / "tickets.csv", 80, "ab")
    command = ["--name", "support", "--data", str(tickets), *TICKETS, "--models", str(tmp_path), "--promote-if-better"]
    for _ in range(2):
        assert main([*command, *ONE_TRIAL]) == 0
    assert _names(tmp_path / "support") == ["1", "candidate-2"]
    assert "undecided" in (said := capsys.readouterr().out)
    assert said.endswith(f"mv {tmp_path}/support/candidate-2 {tmp_path}/support/2\n")
    assert re.search(r"on \d+ texts\. The new version is kept in", said)


def test_a_bad_row_is_refused_in_one_line_and_leaves_no_trace(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tickets = _write_tickets(tmp_path / "tickets.csv", 20, "ab")
    with tickets.open("a") as file:
        file.write("one,two\n")
    arguments = ["--name", "support", "--data", str(tickets), *TICKETS, "--models", str(tmp_path / "models")]
    assert "tickets.csv: line 42: 2 columns, but" in _refused(capsys, lambda: main(arguments))
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize(
    ("name", "accuracy"), [("names", 0.838), ("trec6", 0.886), ("trec50", 0.818), ("polarity", 0.785)]
)
def test_real_texts_reach_the_accuracy_of_a_linear_svm_without_an_option(
    name: str, accuracy: float, data_dir: Path, tmp_path: Path
) -> None:
    data, test = (str(data_dir / "field" / f"{name}-{part}.jsonl.gz") for part in ("train", "test"))
    assert main(["--name", name, "--data", data, "--test-data", test, "--models", str(tmp_path)]) == 0
    folder = VersionFolder(tmp_path / name / "1")
    tests = folder.metadata.data_set.test_texts
    assert folder.metadata.test_metrics.accuracy > accuracy - (accuracy * (1 - accuracy) / tests) ** 0.5
    assert sum(path.stat().st_size for path in folder.path.rglob("*") if path.is_file()) < 40_000_000


@pytest.mark.parametrize(("name", "accuracy"), [("imdb", 0.87), ("reuters", 0.77)])
def test_the_real_texts_as_own_data_give_the_accuracy_of_the_data_set(
    name: str, accuracy: float, data_dir: Path, tmp_path: Path
) -> None:
    file = {"imdb": "imdb-train.jsonl.gz", "reuters": "reuters.jsonl.gz"}[name]
    test = ["--test-data", str(data_dir / "imdb-test.jsonl.gz")] if name == "imdb" else []
    arguments = ["--name", name, "--data", str(data_dir / file), *test, "--models", str(tmp_path)]
    arguments += ["--preset", "dense", "--layers", ",".join(map(str, PRESETS[name]["dense"].layers))]
    assert main([*arguments, "--epochs", {"imdb": "4", "reuters": "12"}[name]]) == 0
    assert VersionFolder(tmp_path / name / "1").metadata.test_metrics.accuracy > accuracy


FORKS = """
import json, os, runpy, sys
os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_USE_LEGACY_KERAS": "1"}  # as the command does before its imports
from textmodel.standard_error import stderr_hidden
with stderr_hidden():
    import training.train, training.classifiers.dense
for line in sys.stdin:
    sys.argv[1:] = json.loads(line)
    if os.fork() == 0:
        print("process", os.getpid(), flush=True)
        runpy.run_module("training", run_name="__main__")
    status = os.waitstatus_to_exitcode(os.wait()[1])
    print("ended", flush=True)
    print("status", status, file=sys.stderr, flush=True)
"""
"""A program that runs the command for each line of arguments, in a process of its own: TensorFlow is imported once."""


class Runs:
    """Runs of the command, one after the other, each in a process of its own."""

    def __init__(self, program: subprocess.Popen[str]) -> None:
        assert program.stdin
        assert program.stdout
        assert program.stderr
        self._arguments, self._said, self._errors = program.stdin, program.stdout, program.stderr

    def begin(self, *arguments: str) -> int:
        """Begins a run, and returns its process."""
        self._arguments.write(json.dumps(arguments) + "\n")
        self._arguments.flush()
        return int(next(line for line in self._said if line.startswith("process ")).split()[1])

    def until_it_says(self, part: str) -> None:
        """Waits for a line with this part. The run must not end before it."""
        assert any(part in line for line in iter(self._said.readline, "ended\n"))

    def end(self) -> tuple[int, str]:
        """Waits for the end of the run, and returns its status and what it has said on standard error."""
        errors: list[str] = []
        for line in self._errors:
            if line.startswith("status "):
                return int(line.split()[1]), "".join(errors)
            errors.append(line)
        raise AssertionError(errors)


@pytest.fixture(scope="module")
def runs() -> Iterator[Runs]:
    # A shell that runs the tests in the background has them ignore SIGINT.
    command = ["env", "--default-signal=INT", sys.executable, "-u", "-c", FORKS]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as program:
        yield Runs(program)


def test_the_next_version_has_the_same_variables_by_the_same_seed_in_another_process(
    trained: Callable[..., Trained], runs: Runs
) -> None:
    folder, data, _ = trained("imdb")
    model = folder.path.parent
    runs.begin("imdb", "--data-dir", str(data), "--models", str(model.parent), "--name", "mine", *QUICK)
    assert runs.end() == (0, "")
    assert _names(model) == ["1", "2"]
    assert VersionFolder(model / "2").metadata.name == "mine"
    one, other = (model / version / "variables" for version in "12")
    assert (one / "variables.data-00000-of-00001").read_bytes() == (
        other / "variables.data-00000-of-00001"
    ).read_bytes()


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["imdb", "--help"], ["imdb", "--epochs", "0"], ["--nonsense"], [], ["--name", "a", "--data", "a"]],
)
def test_help_and_wrong_options_do_not_wait_for_tensorflow(arguments: list[str]) -> None:
    script = (
        "import sys; from training.cli import main\n"
        "try: status = main(sys.argv[1:])\n"
        "except SystemExit as exit: status = exit.code\n"
        "print(status, sorted({'tensorflow', 'keras', 'matplotlib'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == f"{0 if '--help' in arguments else 2} []"


def test_help_shows_the_defaults_of_the_data_set(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["reuters", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "(default: 64,64)" in said
    assert "(default: 1000)" in said
    assert "(default: rmsprop)" in said
    assert "(default: 10000 for dense, 20000 for ngram)" in said
    assert (
        "ngram: minimum document frequency: number of training texts in which a feature must occur (default: 2)" in said
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "required: --data, --name: see text-classifier-train --help"),
        (["--data", "a.csv"], "required: --name"),
        (["evalute", "--model", "x"], "no such command 'evalute': did you mean evaluate?"),
        (["frobnicate"], "no such command 'frobnicate': the commands are imdb, reuters, evaluate, compare, judge, "),
        (["--name", "mine"], "required: --data"),
        (["--name", "mine", "--data", "a.txt"], "a.txt: plain text has no labels"),
        (["--name", "mine", "--data", "a.csv"], "a.csv: No such file"),
        (["--name", "mine", "--data", "a.csv", "--label-column", "text"], "the column 'text' is named for two things"),
        (["--name", "mine", "--data", "a.csv", "imdb"], "imdb: the ending of the name"),
        (["imdb", "--data", "a.csv"], "unrecognized arguments: --data a.csv: see text-classifier-train imdb --help"),
        (["imdb", "--test-split", "0.3"], "unrecognized arguments: --test-split"),
        (["--data", "a.csv", "--test-data", "a.csv", "--test-split", "0.3"], "not allowed with"),
        (["--test-split", "1"], "between 0 and 1"),
        (["--class-weights", "some"], "balanced"),
        (["imdb", "--validation-split", "0.3"], "--validation-split"),
        (["--name", "mine", "--data", "a.csv", "--validation-samples", "3"], "unrecognized arguments: --validation"),
        (["nonsense"], "see text-classifier-train --help"),
        (["imdb", "--nonsense"], "--nonsense"),
        (["imdb", "--optimizer", "magic"], "rmsprop"),
        (["imdb", "--loss", "hinge"], "mse"),
        (["imdb", "--vectorizer", "bag"], "multi-hot"),
        (["imdb", "--layers", "64,,4"], "as 64,4"),
        (["imdb", "--layers", "64,-4"], "as 64,4"),
        (["imdb", "--layers", ""], "as 64,4"),
        (["imdb", "--epochs", "0"], "from 1"),
        (["imdb", "--epochs", "many"], "from 1"),
        (["imdb", "--batch-size", "1.5"], "from 1"),
        (["imdb", "--num-words", "4"], "from 5"),
        (["imdb", "--seed", "-1"], "from 0"),
        (["imdb", "--seed", "4294967296"], "to 4,294,967,295"),
        (["imdb", "--learning-rate", "0"], "positive"),
        (["imdb", "--learning-rate", "nan"], "positive"),
        (["imdb", "--learning-rate", "fast"], "positive"),
        (["imdb", "--name", "../mine"], "letters"),
        (["imdb", "--sequence-length", "9"], "needs --vectorizer embedding"),
        (["imdb", "--preset", "best"], "ngram"),
        (["imdb", "--max-ngram", "2"], "needs --preset ngram"),
        (["imdb", "--features", "both"], "--features"),
        ([*OWN, "--epochs", "2"], "needs --preset dense"),
        ([*OWN, "--num-words", "100"], "needs --preset dense"),
        ([*OWN, "--features", "words", "--char-ngrams", "2,5"], "needs --features characters or both"),
        ([*OWN, "--features", "characters", "--max-ngram", "2"], "needs --features words or both"),
        ([*OWN, "--char-ngrams", "5,2"], "rising lengths from 1 to 6, as 2,5"),
        ([*OWN, "--char-ngrams", "1,7"], "rising lengths from 1 to 6, as 2,5"),
        ([*OWN, "--cost", "0"], "positive"),
        ([*OWN, "--buckets", "8388608"], "to 4,194,304"),
        (["imdb", "--preset", "ngram", "--layers", "9"], "needs --preset dense"),
        (["imdb", "--preset", "ngram", "--orders", "4"], "to 3"),
        (["imdb", "--preset", "ngram", "--buckets", "1000"], "power of two"),
        (["imdb", "--preset", "ngram", "--idf-power", "-1"], "from 0 to 10"),
        (["imdb", "--preset", "ngram", "--divergence-power", "11"], "from 0 to 10"),
    ],
)
def test_a_wrong_option_is_refused_in_one_line(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert says in _refused(capsys, lambda: main(arguments))


def _npz(name: str, **changes: Any) -> Callable[[Path], object]:
    """Returns what writes the made-up arrays with some replaced; None leaves one out."""

    def write(folder: Path) -> None:
        changed = {**made_up.arrays(name), **changes}
        np.savez(folder / f"{name}.npz", **{key: value for key, value in changed.items() if value is not None})

    return write


def _texts(first: object) -> np.ndarray[Any, Any]:
    texts = made_up.arrays("reuters")["x"]
    texts[0] = first
    return texts


def _topics(first: int) -> np.ndarray[Any, Any]:
    topics = made_up.arrays("reuters")["y"]
    topics[0] = first
    return topics


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda folder: (folder / "reuters.npz").unlink(), "reuters.npz: No such file or directory: name the folder"),
        (lambda folder: (folder / "reuters_word_index.json").unlink(), "_index.json: No such file or directory"),
        (lambda folder: (folder / "reuters.npz").write_bytes(b"no zip"), "not a .npz file"),
        (lambda folder: (folder / "reuters.npz").write_bytes((folder / "imdb.npz").read_bytes()[:-9]), "not a .npz"),
        (lambda folder: (folder / "reuters.npz").write_bytes((folder / "imdb.npz").read_bytes()), "no array 'x'"),
        (_npz("reuters", y=None), "no array 'y'"),
        (_npz("reuters", y=np.zeros(60)), "y is not a one-dimensional array of integers"),
        (_npz("reuters", y=np.zeros((60, 46), int)), "y is not a one-dimensional array of integers"),
        (_npz("reuters", y=np.zeros(59, int)), "x has 60 texts, but y has 59 classes"),
        (_npz("reuters", y=_topics(46)), "y[0] is 46, but the classes are 0 to 45"),
        (_npz("reuters", y=_topics(-1)), "y[0] is -1, but the classes are 0 to 45"),
        (_npz("reuters", x=np.zeros((60, 5), int)), "x is not a one-dimensional array of lists"),
        (_npz("reuters", x=np.zeros(60, int)), "x is not a one-dimensional array of lists"),
        (_npz("reuters", x=np.empty(0, object), y=np.zeros(0, int)), "x is empty"),
        (_npz("reuters", x=_texts("words")), "x[0] is not a list of word ranks"),
        (_npz("reuters", x=_texts(["good"])), "x[0] is not a list of word ranks"),
        (_npz("reuters", x=_texts([3, 0])), "x[0] is not a list of word ranks"),
        (_npz("reuters", x=_texts([3, -7])), "x[0] is not a list of word ranks"),
        (_npz("reuters", x=_texts([1.5])), "x[0] is not a list of word ranks"),
        (_npz("reuters", x=_texts([[1], [2, 3]])), "x[0] is not a list of word ranks"),
        (_npz("reuters", x=_texts([2**63])), "x[0] is not a list of word ranks"),
        (_npz("reuters", x=_texts([2**70])), "x[0] is not a list of word ranks"),
        (_npz("reuters", x=_texts(None)), "x[0] is not a list of word ranks"),
        (lambda folder: (folder / "reuters_word_index.json").write_text('{"the": 1'), "not a JSON object"),
        (lambda folder: (folder / "reuters_word_index.json").write_text('["the"]'), "not a JSON object"),
        (lambda folder: (folder / "reuters_word_index.json").write_text('{"the": 0}'), "not a JSON object"),
        (lambda folder: (folder / "reuters_word_index.json").write_text('{"the": "1"}'), "not a JSON object"),
        (lambda folder: (folder / "reuters_word_index.json").write_bytes(b'{"\xff": 1}'), "not a JSON object"),
        (lambda folder: (folder / "reuters_word_index.json").write_text('{"a": 1, "b": 1}'), "the same rank"),
        (lambda folder: (folder / "reuters_word_index.json").write_text('{"the": 1}'), "--num-words 30 is more than"),
    ],
)
def test_data_that_cannot_be_used_are_refused_in_one_line_and_leave_no_trace(
    damage: Callable[[Path], object], says: str, files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(files)
    assert says in _refused(capsys, lambda: _train(files, tmp_path / "models", "reuters"))
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize("samples", ["48", "1000"])
def test_a_validation_set_that_leaves_no_training_texts_is_refused(
    samples: str, files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = _refused(capsys, lambda: _train(files, tmp_path / "models", "reuters", "--validation-samples", samples))
    assert f"--validation-samples {samples} leaves nothing of the 48 training texts" in said
    assert not (tmp_path / "models").exists()


def test_a_models_folder_that_cannot_be_written_is_refused_before_data_are_read(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "models").write_text("a file")
    for file in files.iterdir():  # no file of the data is read before
        file.unlink()
    assert "--models" in _refused(capsys, lambda: _train(files, tmp_path / "models", "reuters"))
    assert (tmp_path / "models").read_text() == "a file"


def test_a_full_disk_fails_in_one_line_and_leaves_no_half_version(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with full_disk(10_000):
        status = _train(files, tmp_path / "models", "reuters")
    assert status == 1
    assert re.fullmatch(r"text-classifier-train: error: [^\n]+\n", capsys.readouterr().err)
    assert not (tmp_path / "models").exists()


FULL_DISKS = """
import os, runpy, subprocess, sys
def run():
    try: runpy.run_module("training", run_name="__main__")
    except SystemExit as exit: return exit.code
disk, disks, *sys.argv[1:] = sys.argv[1:]
for options in disks.split():
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "disk", disk], check=True)
    print("status", run(), os.listdir(disk), file=sys.stderr)
"""
"""A program that runs the command with several disks: TensorFlow is imported once."""


@pytest.mark.parametrize(
    ("number", "status", "says"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_a_stopped_run_says_so_and_leaves_no_half_version(
    *, number: signal.Signals, status: int, says: str, runs: Runs, files: Path, tmp_path: Path
) -> None:
    places = ["--data-dir", str(files), "--models", str(tmp_path / "models")]
    process = runs.begin("imdb", *QUICK, "--epochs", "100000", *places)
    runs.until_it_says("loss")
    os.kill(process, number)
    assert runs.end() == (status, f"text-classifier-train: {says}: nothing was written\n")
    assert not (tmp_path / "models").exists()


DISKS = {
    "size=16k": (1, "error: .+"),  # full while the network is written
    "size=96k": (1, "error: .+"),  # full after it
    "size=1m,ro": (2, "error: --models .+: cannot write there: Read-only file system: .+"),
}


def test_a_full_or_read_only_disk_is_reported_in_one_line_and_stays_empty(files: Path, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    disk = str(tmp_path / "disk")
    train = [sys.executable, "-c", FULL_DISKS, disk, " ".join(DISKS), "imdb", "--data-dir", str(files), *QUICK]
    mounting = with_mounts("true", "")
    run = subprocess.run([*mounting, *train, "--models", disk], capture_output=True, text=True, check=True)
    said = run.stderr.splitlines()
    assert len(said) == 2 * len(DISKS)
    for line, end, (status, says) in zip(said[::2], said[1::2], DISKS.values(), strict=True):
        assert re.fullmatch(f"text-classifier-train: {says}", line)
        assert end == f"status {status} []"
