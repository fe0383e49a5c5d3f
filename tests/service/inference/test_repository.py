"""Which version a request gets, and what it is told when it gets none."""

from types import SimpleNamespace
from typing import Any

import pytest

from service.errors import InvalidArgument, NotFound, NotReady, RequestError
from service.inference.repository import Model, ModelRepository, ModelVersion, State
from service.inference.servable import Servable


def servable(name: str, version: int) -> Servable:
    other: Any = SimpleNamespace()
    return Servable(name, version, ("x", "y"), other, other, other, other, other)


def repository(*, serves: bool = True) -> ModelRepository:
    """A repository with versions 1, 2 and 10 of `m`: 2 is in service, 10 is loading, 3 has failed."""
    found = ModelRepository()
    answering = {number: servable("m", number) for number in (1, 2)}
    versions = {number: ModelVersion("m", number, State.AVAILABLE, servable=each) for number, each in answering.items()}
    versions[10] = ModelVersion("m", 10)
    versions[3] = ModelVersion("m", 3, State.FAILED, "odd")
    found.models["m"] = Model(versions, answering[2])
    if serves:
        found.serves.set()
    return found


def refusal(found: ModelRepository, name: str, version: int) -> RequestError:
    with pytest.raises(RequestError) as error:
        found.get(name, version)
    return error.value


def test_a_request_gets_the_version_it_names_or_the_one_in_service() -> None:
    found = repository()
    assert [found.get("m", number).version for number in (0, 1, 2)] == [2, 1, 2]
    assert [found.find("m", number).version for number in (0, 1, 3, 10)] == [2, 1, 3, 10]
    assert [known.version for known in found.list()] == [1, 2, 3, 10]
    assert [known.version for known in found.list() if found.in_service(known)] == [2]


def test_without_a_version_in_service_the_highest_is_found() -> None:
    found = repository()
    found.models["m"].in_service = None
    assert found.find("m", 0).version == 10
    assert [found.in_service(known) for known in found.list()] == [False] * 4


@pytest.mark.parametrize(
    ("name", "version", "kind", "says"),
    [
        ("", 0, InvalidArgument, "model: is empty; available are m"),
        ("m", -1, InvalidArgument, "version: -1 is negative; 0 is the version in service"),
        ("n", 0, NotFound, "models/n not found: available are m"),
        ("n" * 65, 7, NotFound, f"models/{'n' * 64}… not found: available are m"),
        ("m", 4, NotFound, "models/m/versions/4 not found: "),
        ("m", 3, NotFound, "models/m/versions/3 not found: "),
        ("m", 10, NotReady, "models/m/versions/10 is being loaded; try again later"),
    ],
)
def test_a_request_that_gets_no_version_is_told_what_there_is(
    name: str, version: int, kind: type[RequestError], says: str
) -> None:
    error = refusal(repository(), name, version)
    assert type(error) is kind
    assert str(error).startswith(says)
    assert "available: versions 1, 2" in str(error) or kind is not NotFound or name != "m"


def test_a_model_whose_last_version_is_unloaded_has_no_version() -> None:
    found = repository()
    found.models["m"] = Model()
    assert str(refusal(found, "m", 0)) == "models/m not found: no version is available"
    assert found.list() == []


@pytest.mark.parametrize(("name", "version"), [("n", 0), ("m", 4), ("m", 3)])
def test_until_the_server_serves_what_is_missing_may_yet_come(name: str, version: int) -> None:
    assert isinstance(refusal(repository(serves=False), name, version), NotReady)


@pytest.mark.parametrize(
    ("count", "listed"),
    [
        (0, "none"),
        (1, "m00"),
        (20, ", ".join(f"m{number:02}" for number in range(20))),
        (21, ", ".join(f"m{number:02}" for number in range(20)) + ", …"),
    ],
)
def test_twenty_names_are_listed(count: int, listed: str) -> None:
    found = ModelRepository()
    found.serves.set()
    found.models = {f"m{number:02}": Model() for number in reversed(range(count))}
    assert str(refusal(found, "x", 0)) == f"models/x not found: available are {listed}"


def test_subscribers_hear_of_changes() -> None:
    found = ModelRepository()
    heard: list[str] = []
    found.subscribe(lambda: heard.append("a"))
    found.subscribe(lambda: heard.append("b"))
    found.changed()
    assert heard == ["a", "b"]


def test_a_version_has_the_shadow_that_it_is_the_candidate_of() -> None:
    found = repository()
    model = found.models["m"]
    assert [found.shadow(known) for known in found.list()] == [None] * 4
    shadow: Any = SimpleNamespace(candidate=model.versions[1].servable)
    model.shadow = shadow
    assert [found.shadow(known) is shadow for known in found.list()] == [True, False, False, False]
