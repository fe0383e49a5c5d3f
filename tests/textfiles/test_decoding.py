import codecs
import io

import pytest

from textfiles.decoding import Utf8Stream, canonical_encoding, detected_encoding, invalid_text, wrong_encoding


@pytest.mark.parametrize(
    ("start", "encoding", "length"),
    [
        (codecs.BOM_UTF8 + b"a", "utf-8", 3),
        (codecs.BOM_UTF16_LE + b"a\0", "utf-16-le", 2),
        (codecs.BOM_UTF16_BE + b"\0a", "utf-16-be", 2),
        (codecs.BOM_UTF32_LE, "utf-32-le", 4),
        (codecs.BOM_UTF32_BE, "utf-32-be", 4),
        (b"a\0b\0", "utf-16-le", 0),
        (b"\0a\0b", "utf-16-be", 0),
        (b"a\0\0\0", None, 0),
        (b"a\0b", None, 0),
        (b"\0a\0\0", None, 0),
        (b"text", None, 0),
        (b"", None, 0),
    ],
)
def test_the_first_bytes_show_the_encoding(start: bytes, encoding: str | None, length: int) -> None:
    assert detected_encoding(start) == (encoding, length)


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("UTF8", "utf-8"),
        ("UTF-16", "utf-16-le"),
        ("utf_16_be", "utf-16-be"),
        ("utf32", "utf-32-le"),
        ("latin-1", "iso8859-1"),
        ("latin-2000", None),
        ("a\0b", None),
        ("base64", None),
        ("idna", None),
        ("punycode", None),
    ],
)
def test_an_encoding_has_one_name(name: str, canonical: str | None) -> None:
    assert canonical_encoding(name) == canonical


def test_a_stream_of_another_encoding_is_read_as_utf_8_across_its_blocks() -> None:
    text = "aé" * 100_000  # more than two blocks
    stream = Utf8Stream(io.BytesIO(text.encode("utf-16-be")), "utf-16-be")
    assert stream.readable()
    assert io.BufferedReader(stream, 7).read().decode() == text


def test_bytes_that_are_not_of_the_encoding_are_no_utf_8_and_those_around_them_are() -> None:
    stream = Utf8Stream(io.BytesIO(b"a\n\xff\nb\n\x80"), "ascii")
    lines = io.BufferedReader(stream).readlines()
    assert [line for line in lines if line.isascii()] == [b"a\n", b"b\n"]
    for line in (lines[1], lines[3]):
        with pytest.raises(UnicodeDecodeError):
            line.decode()


def test_the_reason_names_the_byte_or_the_encoding() -> None:
    with pytest.raises(UnicodeDecodeError) as error:
        b"ab\x80".decode()
    assert invalid_text(error.value) == "not UTF-8 (invalid start byte 0x80)"
    assert wrong_encoding(error.value, "utf-8").startswith("not UTF-8 (invalid start byte 0x80): name the encoding")
    assert wrong_encoding(error.value, "cp1252").startswith("not cp1252: name the encoding")
