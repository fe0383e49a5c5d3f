"""Writes docs/api.md from the contract's comments: `python -m tools.api_reference`."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    ServiceDescriptorProto,
)

ROOT = Path(__file__).parents[1]
PROTO = "text_classifier/v1/text_classifier.proto"
PAGE = ROOT / "docs" / "api.md"

# Field numbers of descriptor.proto, which identify the element that a comment belongs to.
_PACKAGE, _MESSAGES, _SERVICES = 2, 4, 6
_FIELDS, _ENUMS_OF_MESSAGE, _METHODS, _VALUES = 2, 4, 2, 2

Place = tuple[int, ...]


class Comments(NamedTuple):
    """The comments of a file, by the path of field numbers of their element."""

    by_place: dict[Place, str]

    def paragraphs(self, *place: int) -> list[str]:
        """Returns the comment, each paragraph in one line."""
        return [" ".join(paragraph.split()) for paragraph in self.by_place[place].split("\n\n")]

    def text(self, *place: int) -> str:
        """Returns the comment as paragraphs of Markdown."""
        return "\n\n".join(self.paragraphs(*place))

    def cell(self, *place: int) -> str:
        """Returns the comment as the cell of a table."""
        return " ".join(self.paragraphs(*place))


def page() -> str:
    """Returns the reference."""
    file = _parsed()
    comments = Comments({tuple(place.path): place.leading_comments for place in file.source_code_info.location})
    sections = [
        f"# API reference\n\n`make docs` generates this page from the comments of [`{PROTO}`](../proto/{PROTO}):"
        " change them there. The guide to the clients is [clients.md](clients.md).",
        f"The package is `{file.package}`.",
        comments.text(_PACKAGE),
    ]
    for number, service in enumerate(file.service):
        sections += _service(comments, service, (_SERVICES, number))
    for number, message in enumerate(file.message_type):
        sections += _message(comments, message, (_MESSAGES, number))
    return "\n\n".join(sections) + "\n"


def _parsed() -> FileDescriptorProto:
    """Parses the contract with protoc, including comments."""
    with TemporaryDirectory() as folder:
        output = Path(folder) / "descriptors"
        command = [sys.executable, "-m", "grpc_tools.protoc", "-Iproto", "--include_source_info"]
        subprocess.run([*command, f"--descriptor_set_out={output}", PROTO], cwd=ROOT, check=True)
        return FileDescriptorSet.FromString(output.read_bytes()).file[0]


def _service(comments: Comments, service: ServiceDescriptorProto, place: Place) -> Iterator[str]:
    yield f"## {service.name}"
    yield comments.text(*place)
    for number, method in enumerate(service.method):
        request = f"{'stream of ' if method.client_streaming else ''}{_link(method.input_type)}"
        response = f"{'stream of ' if method.server_streaming else ''}{_link(method.output_type)}"
        yield f"### {service.name}.{method.name}"
        yield f"{request} → {response}"
        yield comments.text(*place, _METHODS, number)


def _message(comments: Comments, message: DescriptorProto, place: Place) -> Iterator[str]:
    yield f"## {message.name}"
    yield comments.text(*place)
    if message.field:
        yield _table(
            ("field", "number", "type", "meaning"),
            [
                (f"`{field.name}`", str(field.number), _type(field), comments.cell(*place, _FIELDS, number))
                for number, field in enumerate(message.field)
            ],
        )
    for number, enum in enumerate(message.enum_type):
        yield from _enum(comments, enum, (*place, _ENUMS_OF_MESSAGE, number), message.name)


def _enum(comments: Comments, enum: EnumDescriptorProto, place: Place, outer: str) -> Iterator[str]:
    yield f"### {outer}.{enum.name}"
    yield comments.text(*place)
    yield _table(
        ("value", "number", "meaning"),
        [
            (f"`{value.name}`", str(value.number), comments.cell(*place, _VALUES, number))
            for number, value in enumerate(enum.value)
        ],
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _type(field: FieldDescriptorProto) -> str:
    name = _link(field.type_name) if field.type_name else FieldDescriptorProto.Type.Name(field.type)[5:].lower()
    return f"repeated {name}" if field.label == FieldDescriptorProto.LABEL_REPEATED else name


def _link(full_name: str) -> str:
    """Returns a link to the section of a type of this package."""
    name = full_name.removeprefix(".text_classifier.v1.")
    return f"[{name}](#{name.lower().replace('.', '')})"


if __name__ == "__main__":
    PAGE.write_text(page())
