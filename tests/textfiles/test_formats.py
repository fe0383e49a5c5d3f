import pytest

from textfiles.formats import Compression, Format, format_of, split_compression


@pytest.mark.parametrize(
    ("name", "format_"),
    [
        ("a.csv", Format.CSV),
        ("a.b.TSV", Format.TSV),
        ("a.jsonl", Format.JSON_LINES),
        ("a.NDJSON", Format.JSON_LINES),
        ("a.parquet", Format.PARQUET),
        ("folder.csv/a.txt", Format.TEXT),
        ("csv", None),
        (".csv", None),
        ("a.csv.gz", None),
        ("a.json", None),
    ],
)
def test_the_ending_of_a_name_says_the_format(name: str, format_: Format | None) -> None:
    assert format_of(name) is format_


@pytest.mark.parametrize(
    ("name", "rest", "compression"),
    [
        ("a.csv", "a.csv", Compression.NONE),
        ("a.csv.gz", "a.csv", Compression.GZIP),
        ("a.csv.GZ", "a.csv", Compression.GZIP),
        ("a.csv.bz2", "a.csv", Compression.BZIP2),
        ("a.csv.xz", "a.csv", Compression.XZ),
        ("a.csv.zst", "a.csv", Compression.ZSTD),
        ("a.zip", "a", Compression.ZIP),
        ("gz", "gz", Compression.NONE),
    ],
)
def test_the_ending_of_a_name_says_the_compression(name: str, rest: str, compression: Compression) -> None:
    assert split_compression(name) == (rest, compression)


def test_only_tsv_is_separated_by_tabs() -> None:
    assert {each: each.delimiter for each in Format if each.delimiter != ","} == {Format.TSV: "\t"}
