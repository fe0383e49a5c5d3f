from pathlib import Path

import pytest

from service.inference.version_policy import OnDisk, VersionPolicy, on_disk
from textmodel import ModelError

FOLDERS = {1: Path("1"), 2: Path("2"), 10: Path("10")}


@pytest.mark.parametrize(
    ("pins", "shadows", "found", "order", "shadow"),
    [
        ({}, {}, OnDisk(FOLDERS), ([10, 2, 1], None), None),
        ({"m": 2}, {}, OnDisk(FOLDERS), ([2, 10, 1], 2), None),
        ({"other": 2}, {"other": 1}, OnDisk(FOLDERS), ([10, 2, 1], None), None),
        ({"m": 2}, {}, OnDisk(FOLDERS, pin=1), ([1, 10, 2], 1), None),
        ({"m": 7}, {}, OnDisk(FOLDERS), ([7, 10, 2, 1], 7), None),
        ({}, {"m": 10}, OnDisk(FOLDERS), ([2, 1], None), 10),
        ({}, {"m": 10}, OnDisk(FOLDERS, shadow=2), ([10, 1], None), 2),
        ({"m": 10}, {"m": 10}, OnDisk(FOLDERS), ([10, 2, 1], 10), None),
        ({"m": 1}, {"m": 10}, OnDisk(FOLDERS), ([1, 2], 1), 10),
        ({"m": 1}, {"m": 10}, OnDisk(), ([], None), None),
        ({}, {}, OnDisk({2: Path("2")}, shadow=2), ([2], None), None),
        ({}, {"m": 2}, OnDisk({2: Path("2")}), ([2], None), None),
        ({}, {"m": 3}, OnDisk({2: Path("2")}), ([2], None), 3),
    ],
)
def test_the_pinned_version_comes_first_then_the_newest_but_no_shadow(
    pins: dict[str, int], shadows: dict[str, int], found: OnDisk, order: object, shadow: int | None
) -> None:
    policy = VersionPolicy(1, pins, shadows)
    assert policy.order("m", found) == order
    assert policy.shadow("m", found) == shadow


def test_a_folder_that_cannot_be_read_has_no_order() -> None:
    with pytest.raises(ModelError, match="why"):
        VersionPolicy(1, {}).order("m", OnDisk(FOLDERS, problem="why"))


def test_models_are_the_folders_with_versions_or_with_a_problem(tmp_path: Path) -> None:
    for folder in ("b/1", "b/02", "b/x", "a/3", "empty", ".hidden/1", "bad/1", "my model/1", "my notes"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "file").touch()
    (tmp_path / "b" / "pin").write_text("1\n")
    (tmp_path / "b" / "shadow").write_text("2\n")
    (tmp_path / "bad" / "pin").write_text("one")
    found, misnamed = on_disk(tmp_path)
    assert misnamed == ["my model"]
    assert list(found) == ["a", "b", "bad"]
    assert found["a"] == OnDisk({3: tmp_path / "a" / "3"})
    assert list(found["b"].folders) == [1, 2]
    assert (found["b"].pin, found["b"].shadow) == (1, 2)
    assert found["bad"].problem
    assert list(found["bad"].folders) == [1]
