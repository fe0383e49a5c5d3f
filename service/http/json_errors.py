"""Explains what is wrong with the JSON of a request: the field, its expected type, and its actual type."""

import re

import msgspec

from service.errors import InvalidArgument, shortened

_PLACE = " - at `$"
_FIELD = re.compile(r"Object (?P<fault>missing required|contains unknown) field `(?P<name>.*)`", re.DOTALL)
_KINDS = {
    "str": "a string",
    "int": "an integer",
    "float": "a number",
    "bool": "true or false",
    "array": "an array",
    "object": "an object",
}


def invalid_json(error: Exception, kind: object, place: str = "") -> InvalidArgument:
    """Returns the error for JSON that msgspec refuses.

    Args:
        error: the error of msgspec.
        kind: the type that the JSON was decoded as.
        place: the path of the field that was decoded; empty for the whole body.
    """
    if not isinstance(error, msgspec.ValidationError):
        return InvalidArgument(place or "body", _malformed(error))
    problem, found, path = str(error).rpartition(_PLACE)
    if not found:
        problem, path = path, ""
    path = (place + path.removesuffix("`")).removeprefix(".")
    field = _FIELD.fullmatch(problem)
    if not field:
        return InvalidArgument(path or "body", _in_words(problem) + _hint(kind, path))
    name = f"{path}.{shortened(field['name'])}".removeprefix(".")
    if field["fault"].startswith("missing"):
        return InvalidArgument(name, "is missing")
    fields = ", ".join(getattr(kind, "__struct_fields__", ()))
    return InvalidArgument(name, f"is not a field of this request: its fields are {fields}")


def _hint(kind: object, path: str) -> str:
    """Returns a hint that a type of bodies adds to the error of one of its fields."""
    hints: dict[str, str] = getattr(kind, "hints", {})
    return next((f": {hint}" for name, hint in hints.items() if f".{name}[" in f"{path}["), "")


def _malformed(error: Exception) -> str:
    match error:
        case UnicodeDecodeError():
            return "is not UTF-8"
        case RecursionError():
            return "is nested too deeply"
    if "truncated" in str(error):
        return "is not complete JSON: it is cut off, or has half of a surrogate pair, \\ud800 to \\udfff"
    return f"is not JSON: {str(error).removeprefix('JSON is malformed: ')}"


def _in_words(problem: str) -> str:
    """Replaces the names of types: "Expected `str`, got `int`" becomes "expected a string, got an integer"."""
    kinds = re.sub(r"`([a-z |]+)`", lambda found: " or ".join(map(_kind, found[1].split(" | "))), problem)
    return kinds[:1].lower() + kinds[1:]


def _kind(name: str) -> str:
    return _KINDS.get(name, name)
