"""The files of a capture: what is in them, who may read them, how large they get, and what is lost is counted."""

import json
import os
import stat
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from structlog.testing import capture_logs

from service.errors import StartError
from service.inference import capture as capture_module
from service.inference.capture import FILES_PER_WORKER, Capture
from service.inference.shadow import Compared
from service.telemetry.shadow_metrics import CaptureMetrics
from service.telemetry.shared_metrics import PAGE_BYTES, MetricsPage


class Capturing:
    """A capture, and its metrics."""

    def __init__(self, folder: Path, share: float = 0, max_bytes: int = 1 << 20, workers: int = 1) -> None:
        self.folder = folder
        self.page = MetricsPage(bytearray(PAGE_BYTES), owner=0)
        self.capture = Capture(folder, share, max_bytes, workers, CaptureMetrics(self.page))

    def record(self, texts: list[str], agrees: list[bool]) -> None:
        count = len(texts)
        labels, probabilities = ["x"] * count, [0.75] * count
        shadow_labels = ["x" if each else "y" for each in agrees]
        ids = [f"id {text[:8]}" for text in texts]
        compared = Compared(texts, ids, np.array(agrees), labels, probabilities, shadow_labels, probabilities, 3)
        self.capture.record("m", 1, 2, compared)

    def count(self, name: str) -> float:
        return sum(float(values[0]) for series, values in self.page.read() if name in series.family)

    def lines(self) -> list[dict[str, Any]]:
        """Ends the capture and returns all lines, the oldest first."""
        self.capture.close()
        return [json.loads(line) for path in sorted(self.folder.iterdir()) for line in path.read_text().splitlines()]


def test_disagreements_are_written_with_both_answers_and_the_number_of_all(tmp_path: Path) -> None:
    capturing = Capturing(tmp_path / "new" / "folder")
    capturing.record(["same", "other\n😀"], [True, False])
    count, text = capturing.lines()
    versions = {"model": "m", "version": 1, "shadow_version": 2}
    assert count == {"kind": "compared", **versions, "texts": 2, "disagreements": 1, "dropped": 3}
    text.pop("time")
    answers = {"label": "x", "probability": 0.75, "shadow_label": "y", "shadow_probability": 0.75}
    about = {"request_id": "id other\n😀", "agrees": False, "text": "other\n😀"}
    assert text == {"kind": "text", **versions, **answers, **about}
    assert capturing.count("captured_texts") == 1


def test_each_write_has_the_counts_since_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capture_module, "_INTERVAL", 0.0)
    capturing = Capturing(tmp_path)
    write, written = capturing.capture._write, threading.Event()

    def noted(lines: list[bytes], counts: list[bytes]) -> None:
        write(lines, counts)
        written.set()

    monkeypatch.setattr(capturing.capture, "_write", noted)
    capturing.record(["a", "b"], [False, True])
    assert written.wait(60)
    capturing.record(["c"], [False])
    counts = [line for line in capturing.lines() if line["kind"] == "compared"]
    assert [(line["texts"], line["disagreements"], line["dropped"]) for line in counts] == [(2, 1, 3), (1, 1, 3)]


def test_the_share_of_agreements_is_written_too(tmp_path: Path) -> None:
    capturing = Capturing(tmp_path, share=0.5, max_bytes=1 << 22)
    capturing.record(["same"] * 1000, [True] * 1000)
    written = [line for line in capturing.lines() if line["kind"] == "text"]
    assert 400 < len(written) < 600
    assert all(line["agrees"] for line in written)


def test_files_and_folder_are_the_owner_s_alone(tmp_path: Path) -> None:
    capturing = Capturing(tmp_path / "captured")
    capturing.record(["text"], [False])
    capturing.lines()
    (file,) = (tmp_path / "captured").iterdir()
    assert [stat.S_IMODE(path.stat().st_mode) for path in (file, file.parent)] == [0o600, 0o700]


def test_the_oldest_file_makes_room_with_its_texts_and_their_count(tmp_path: Path) -> None:
    max_bytes = 64 * 1024
    capturing = Capturing(tmp_path, max_bytes=max_bytes)
    for _ in range(3 * FILES_PER_WORKER):
        text = json.dumps({"kind": "text", "text": "x" * 3000}).encode() + b"\n"
        count = json.dumps({"kind": "compared", "texts": 1}).encode() + b"\n"
        capturing.capture._write([text], [count])
    lines_left = capturing.lines()
    texts = sum(line["kind"] == "text" for line in lines_left)
    assert sum(line["texts"] for line in lines_left if line["kind"] == "compared") == texts < 3 * FILES_PER_WORKER
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= max_bytes
    assert len(list(tmp_path.iterdir())) == FILES_PER_WORKER  # of 12, with two texts each
    assert capturing.count("removed_files") == 4


def test_no_file_is_removed_while_there_is_room(tmp_path: Path) -> None:
    for number in range(FILES_PER_WORKER - 1):
        (tmp_path / f"captured-{number}.jsonl").touch()
    capturing = Capturing(tmp_path)
    capturing.capture._write([b'{"kind": "text"}\n'], [])
    assert capturing.count("removed_files") == 0
    assert len(list(tmp_path.iterdir())) == FILES_PER_WORKER
    assert capturing.lines() == [{"kind": "text"}]


def test_workers_that_make_room_at_the_same_time_keep_the_bound(tmp_path: Path) -> None:
    for number in range(10, 10 + 2 * FILES_PER_WORKER):
        (tmp_path / f"captured-{number}.jsonl").touch()
    both = [Capturing(tmp_path, workers=2) for _ in range(2)]
    for each in both:
        each.capture._remove_oldest()
    left = len(list(tmp_path.iterdir()))
    for each in both:
        each.lines()
    assert left + len(both) == 2 * FILES_PER_WORKER


def test_texts_that_come_faster_than_they_are_written_keep_the_bound_of_the_files(tmp_path: Path) -> None:
    max_bytes = 64 * 1024
    capturing = Capturing(tmp_path, max_bytes=max_bytes)
    for _ in range(3):
        capturing.record(["x" * 100] * 1000, [False] * 1000)
    lines = capturing.lines()
    texts = sum(line["kind"] == "text" for line in lines)
    assert 0 < texts == capturing.count("captured_texts") == 3000 - capturing.count("capture_dropped")
    assert max(path.stat().st_size for path in tmp_path.iterdir()) <= max_bytes // FILES_PER_WORKER


def test_a_file_that_another_process_removed_is_replaced(tmp_path: Path) -> None:
    capturing = Capturing(tmp_path)
    capturing.capture._write([b'{"kind": "text"}\n'], [])
    for path in tmp_path.iterdir():
        path.unlink()
    capturing.capture._write([b'{"kind": "text"}\n'], [])
    assert capturing.lines() == [{"kind": "text"}]


@pytest.mark.parametrize("moved", ["file", "folder"])
def test_a_file_that_was_moved_away_is_replaced_where_the_folder_is_named(tmp_path: Path, moved: str) -> None:
    folder = tmp_path / "captured"
    capturing = Capturing(folder)
    capturing.capture._write([b'{"kind": "text"}\n'], [])
    (file,) = folder.iterdir()
    (file if moved == "file" else folder).rename(tmp_path / "old")
    capturing.capture._write([b'{"kind": "compared"}\n'], [])
    assert capturing.lines() == [{"kind": "compared"}]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def fill_disk(capture: Capture) -> None:
    """Has a capture write to a full disk."""
    capture._path = Path("/dev/full")
    capture._file = os.open(capture._path, os.O_WRONLY)


def test_each_reason_for_a_failed_write_is_logged_once(tmp_path: Path) -> None:
    folder = tmp_path / "captured"
    capturing = Capturing(folder)
    with capture_logs() as log:
        fill_disk(capturing.capture)
        for _ in range(2):
            capturing.capture._write([b"{}\n"], [])
        capturing.capture._end_file()
        folder.rmdir()
        folder.touch()
        for _ in range(2):
            capturing.capture._write([b"{}\n"], [])
    assert [line["reason"] for line in log] == ["No space left on device", "File exists"]
    capturing.capture.close()


def test_what_finds_no_room_in_the_queue_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capture_module, "QUEUE_BYTES", 1)
    capturing = Capturing(tmp_path)
    capturing.record(["text"], [False])
    (count,) = capturing.lines()
    assert count["disagreements"] == 1
    assert capturing.count("capture_dropped") == 1


def test_a_full_disk_loses_texts_and_their_count_together_and_leaves_no_half_line(tmp_path: Path) -> None:
    capturing = Capturing(tmp_path)
    capturing.capture._write([b'{"kind": "text"}\n'], [])
    (path,) = tmp_path.iterdir()
    present = capturing.capture._file
    fill_disk(capturing.capture)
    capturing.capture._write([b"{}\n"], [b"{}\n"])
    assert capturing.count("capture_dropped") == 1
    assert capturing.capture._file is not None
    os.close(capturing.capture._file)
    capturing.capture._file, capturing.capture._path = present, path
    assert capturing.lines() == [{"kind": "text"}]
    assert path.read_bytes().endswith(b"}\n")


def test_a_folder_that_cannot_be_written_to_ends_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: not mode & os.W_OK)
    with pytest.raises(StartError, match=r"--capture .*: cannot write there"):
        Capturing(tmp_path)


def test_a_folder_that_cannot_be_made_ends_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StartError, match=r"--capture .*: cannot make the folder: Not a directory"):
        Capturing(tmp_path / "file" / "folder")
