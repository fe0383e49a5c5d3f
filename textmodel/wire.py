"""Reads protocol buffers without their schema: the few fields that a reader of TensorFlow's files needs."""

from collections.abc import Iterator


class MalformedError(Exception):
    """What is wrong, without where."""


class Reader:
    """Takes numbers and bytes one after another, never past the end.

    Raises:
        MalformedError: from each method, the data ends too early or holds no such number.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def take(self, size: int) -> bytes:
        """Takes so many bytes."""
        if size > len(self._data) - self._at:
            raise MalformedError("something ends too early")
        self._at += size
        return self._data[self._at - size : self._at]

    def varint(self) -> int:
        """Takes 7 bits a byte, the lowest first, the high bit set in all but the last."""
        value = 0
        for shift in range(0, 64, 7):
            (byte,) = self.take(1)
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise MalformedError("a number is too long")


class Message:
    """The fields of a protocol buffer, by number. One that is not there reads as 0 or as nothing.

    Raises:
        MalformedError: from here or from a method, the data is no such message.
    """

    def __init__(self, data: bytes) -> None:
        self._fields: dict[int, list[int | bytes]] = {}
        reader = Reader(data)
        while reader:
            tag = reader.varint()
            value: int | bytes
            match tag & 7:
                case 0:
                    value = reader.varint()
                case 1:
                    value = int.from_bytes(reader.take(8), "little")
                case 2:
                    value = reader.take(reader.varint())
                case 5:
                    value = int.from_bytes(reader.take(4), "little")
                case _:
                    raise MalformedError("a field has an unknown wire type")
            self._fields.setdefault(tag >> 3, []).append(value)

    def number(self, field: int) -> int:
        """Returns the number in the field."""
        value = self._fields.get(field, [0])[-1]
        if not isinstance(value, int):
            raise MalformedError(f"field {field} is not a number")
        return value

    def strings(self, field: int) -> Iterator[bytes]:
        """Yields the bytes of each string, or of what else has a length, in the field."""
        for value in self._fields.get(field, []):
            if not isinstance(value, bytes):
                raise MalformedError(f"field {field} is not a message or string")
            yield value

    def messages(self, field: int) -> "Iterator[Message]":
        """Yields each message in the field."""
        return map(Message, self.strings(field))

    def map(self, field: int) -> "dict[bytes, Message]":
        """Returns the field, which maps strings to messages."""
        return {next(entry.strings(1), b""): next(entry.messages(2), Message(b"")) for entry in self.messages(field)}
