from pathlib import Path

import msgspec
import pytest

from textfiles import InputError, Row, TextFile, Unreadable


def _objects(path: Path, content: str) -> list[Row[dict[str, msgspec.Raw]] | Unreadable]:
    path.write_text(content)
    text = TextFile(path)
    with text.open() as file:
        return list(text.objects(file))


@pytest.mark.parametrize(
    ("content", "command"),
    [
        ('{\n  "text": "a",\n  "label": "b"\n}\n{\n  "text": "c"\n}\n', "jq -c .$"),
        ('{"text": "a",\n"label": "b"}\n', "jq -c .$"),
        ('{"texts": [\n{"text": "a"}]}\n', "jq -c .$"),
        ('[{"text": "a"}, {"text": "b"}]', r"jq -c '\.\[\]'$"),
        ('[\n  {\n    "text": "a"\n  }\n]\n', r"jq -c '\.\[\]'$"),
        ('\n[{"text": "a"},\n{"text": "b"}]\n', r"jq -c '\.\[\]'$"),
        ('[{"text": "a"},\n{"text": "b"}\n]\n', r"jq -c '\.\[\]'$"),
        ('[\n{"text": "a"}\n]', r"jq -c '\.\[\]'$"),
    ],
)
def test_json_that_is_not_json_lines_is_one_error_that_says_how_to_convert(
    content: str, command: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"not one JSON object per line \(JSON Lines\): convert it with " + command):
        _objects(tmp_path / "a.jsonl", content)


@pytest.mark.parametrize(
    "content",
    [
        '{"text": "a"}\n[1]\n',
        '[1]\n{"text": "a"}\n',
        '{"text":\n{"text": "a"}\n',
        '{"a": 1},\n{"b": 2},\n',
        "{'a': 1,\n",
    ],
)
def test_a_bad_first_row_of_json_lines_is_a_bad_row_alone(content: str, tmp_path: Path) -> None:
    assert any(isinstance(row, Unreadable) for row in _objects(tmp_path / "a.jsonl", content))


def test_a_byte_order_mark_inside_a_file_is_named(tmp_path: Path) -> None:
    _, row = _objects(tmp_path / "a.jsonl", '\ufeff{"text": "a"}\n\ufeff{"text": "b"}\n')
    assert row == Unreadable(2, "starts with a byte order mark, which only the first line may: remove it")


def test_a_row_that_is_nested_too_deeply_is_a_bad_row_alone(tmp_path: Path) -> None:
    deep = "[" * 100_000 + "]" * 100_000
    first, row, last = _objects(tmp_path / "a.jsonl", f'{{"text": "a"}}\n{{"text": {deep}}}\n{{"text": "b"}}\n')
    assert isinstance(row, Unreadable)
    assert (first.number, row, last.number) == (1, (2, "its arrays and objects are nested too deeply"), 3)
    with pytest.raises(InputError, match="is one JSON array"):
        _objects(tmp_path / "b.jsonl", f'{deep}\n{{"text": "b"}}\n')


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (r"\ud83d", r"\ud83d is a lone surrogate"),
        (r"a \ud83d\ude00 \uDE00 b", r"\uDE00 is a lone surrogate"),
        (r"\ud83d\ud83d\ude00", r"\ud83d is a lone surrogate"),
        (r"\\ud83d \uzz00", "JSON is malformed: invalid character in unicode escape"),
    ],
)
def test_half_of_a_character_is_named(value: str, reason: str, tmp_path: Path) -> None:
    (row,) = _objects(tmp_path / "a.jsonl", f'{{"text": "{value}"}}')
    assert isinstance(row, Unreadable)
    assert row.reason.startswith(reason)


def test_a_line_that_is_cut_off_stays_cut_off(tmp_path: Path) -> None:
    assert _objects(tmp_path / "a.jsonl", '{"text": "a') == [Unreadable(1, "Input data was truncated")]
