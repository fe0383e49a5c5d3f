"""What the clients send and how they read answers, without a server."""

import json
from typing import Any

import pytest

from text_classifier.calls import (
    CHANNEL_OPTIONS,
    classifications,
    classify_request,
    metadata,
    model,
    model_request,
    models,
)
from text_classifier.results import (
    Classification,
    Explanation,
    LabelScore,
    Model,
    Server,
    Shadow,
    State,
    WordContribution,
)
from text_classifier.v1 import text_classifier_pb2 as pb2


@pytest.mark.parametrize(
    "address",
    [
        "localhost",
        "localhost:50051",
        "127.0.0.1:50051",
        "127.9.9.9",
        "[::1]:50051",
        "dns:localhost:1",
        "dns:///localhost:1",
        "ipv4:127.0.0.1:1",
        "ipv6:[::1]:1",
        "unix:/run/x",
        "unix-abstract:x",
    ],
)
def test_a_token_goes_unencrypted_to_this_machine(address: str) -> None:
    assert metadata("one", address, encrypted=False) == (("authorization", "Bearer one"),)


@pytest.mark.parametrize(
    "address",
    ["example.org", "localhost.example:1", "10.0.0.7:1", "127.0.0.1.example", "1270.0.1", "[::2]:1", "xunix:/run/x"],
)
def test_a_token_goes_to_other_machines_encrypted_only(address: str) -> None:
    with pytest.raises(ValueError, match="unencrypted"):
        metadata("one", address, encrypted=False)
    assert metadata("one", address, encrypted=True)


def test_a_token_is_visible_ascii_and_none_sends_nothing() -> None:
    assert metadata(None, "example.org", encrypted=False) is None
    assert metadata("!~", "localhost", encrypted=False)
    for token in ("", "a b", "a\n", "é", "\x7f"):
        with pytest.raises(ValueError, match="visible ASCII"):
            metadata(token, "localhost", encrypted=True)


def request(texts: Any, **changes: Any) -> pb2.ClassifyRequest:
    numbers: dict[str, Any] = {"version": 0, "top_k": 0, "explain": False}
    numbers |= {"min_probability": 0.0, "use_thresholds": False}
    return classify_request(texts, **({"model": "m"} | numbers | changes))


def test_a_request_has_what_it_is_given() -> None:
    given: dict[str, Any] = {"version": 3, "top_k": 2, "explain": True, "min_probability": 0.5, "use_thresholds": True}
    expected = pb2.ClassifyRequest(model="m", texts=["a", "b"], **given)
    assert request(iter(["a", "b"]), **given) == expected


def test_a_single_string_and_what_is_no_string_are_refused() -> None:
    with pytest.raises(TypeError, match="a single string: pass a list"):
        request("ab")
    with pytest.raises(TypeError, match=r"texts\[1\] is int, not str"):
        request(["a", 1, None])
    with pytest.raises(TypeError, match=r"texts\[8\] is bytes, not str"):
        request(["a", b"a"], first=7)
    for texts in (None, 3):
        with pytest.raises(TypeError, match=f"texts is {type(texts).__name__}: pass a list of texts"):
            request(texts)


@pytest.mark.parametrize(
    ("wrong", "kind", "says"),
    [
        ({"model": 3}, TypeError, "model is int, not str"),
        ({"model": b"m"}, TypeError, "model is bytes, not str"),
        ({"model": "\ud800"}, ValueError, "model is '\\ud800', not a str that UTF-8 can encode"),
        ({"version": "1"}, TypeError, "version is '1', not an int of 64 bits"),
        ({"top_k": 2**40}, ValueError, "top_k is 1099511627776, not an int of 32 bits"),
        ({"explain": "x"}, TypeError, "explain is 'x', not a bool"),
        ({"min_probability": "x"}, TypeError, "min_probability is 'x', not a float"),
        ({"texts": ["a", "\ud800"]}, ValueError, "texts[1] contains a lone surrogate, which UTF-8 cannot encode"),
    ],
)
def test_an_argument_that_cannot_be_sent_is_named(wrong: dict[str, Any], kind: type[Exception], says: str) -> None:
    with pytest.raises(kind) as error:
        request(**({"texts": ["a"]} | wrong))
    assert (type(error.value), str(error.value)) == (kind, says)


def test_arguments_of_other_calls_that_cannot_be_sent_are_named() -> None:
    with pytest.raises(TypeError, match="name is int, not str"):
        model_request(3, 0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="version is 18446744073709551616, not an int of 64 bits"):
        model_request("m", 2**64)
    with pytest.raises(TypeError, match="token is int, not str"):
        metadata(5, "localhost", encrypted=True)  # type: ignore[arg-type]


def test_an_answer_has_every_field_of_the_message() -> None:
    message = pb2.ClassifyResponse(model="m", version=3)
    words = [pb2.WordContribution(word="good", start=1, end=5, known=True, contribution=0.5)]
    message.classifications.add(
        label="x",
        probability=0.75,
        scores=[pb2.LabelScore(label="x", probability=0.75), pb2.LabelScore(label="y", probability=0.25)],
        words=7,
        known_words=6,
        explanation=pb2.Explanation(bias=-0.5, words=words),
        abstained=True,
    )
    message.classifications.add(label="y")
    assert classifications(message) == [
        Classification(
            label="x",
            probability=0.75,
            scores=(LabelScore("x", 0.75), LabelScore("y", 0.25)),
            words=7,
            known_words=6,
            model="m",
            version=3,
            explanation=Explanation(-0.5, (WordContribution("good", 1, 5, True, 0.5),)),
            abstained=True,
        ),
        Classification("y", 0, (), 0, 0, "m", 3, None, False),
    ]


def test_a_model_has_every_field_of_the_message() -> None:
    message = pb2.Model(
        name="m",
        version=3,
        state=pb2.Model.STATE_AVAILABLE,
        state_reason="odd",
        in_service=True,
        labels=["x", "y"],
        vocabulary_size=9,
        trained_on="imdb",
        test_accuracy=0.75,
        engine="compiled",
        shadow=pb2.Shadow(texts=4, agreements=3),
        thresholds=[0.5, 2],
        target_precision=0.5,
    )
    assert model(message) == Model(
        name="m",
        version=3,
        state=State.AVAILABLE,
        state_reason="odd",
        in_service=True,
        labels=("x", "y"),
        vocabulary_size=9,
        trained_on="imdb",
        test_accuracy=0.75,
        engine="compiled",
        shadow=Shadow(4, 3),
        thresholds=(0.5, 2),
        target_precision=0.5,
    )
    assert model(pb2.Model(name="m")) == Model("m", 0, State.UNSPECIFIED, "", False, (), 0, "", 0, "", None, (), 0)


def test_a_list_of_models_names_the_server() -> None:
    message = pb2.ListModelsResponse(
        models=[pb2.Model(name="m", version=1), pb2.Model(name="m", version=2)],
        server=pb2.Server(version="1.2", transport="native"),
    )
    found = models(message)
    assert [(each.name, each.version) for each in found] == [("m", 1), ("m", 2)]
    assert found.server == Server("1.2", "native")


def test_states_are_those_of_the_contract() -> None:
    assert {f"STATE_{state.name}": state.value for state in State} == dict(pb2.Model.State.items())


def test_channels_retry_and_find_out_that_a_server_is_gone() -> None:
    options = dict(CHANNEL_OPTIONS)
    config = json.loads(str(options.pop("grpc.service_config")))
    assert options == {
        "grpc.keepalive_time_ms": 15_000,
        "grpc.keepalive_timeout_ms": 5000,
        "grpc.http2.ping_timeout_ms": 5000,
        "grpc.max_receive_message_length": -1,
        "grpc.per_rpc_retry_buffer_size": 2_147_483_647,
    }
    assert config["loadBalancingConfig"] == [{"round_robin": {}}]
    (method,) = config["methodConfig"]
    assert method["name"] == [{"service": "text_classifier.v1.TextClassifier"}]
    assert method["retryPolicy"] == {
        "maxAttempts": 5,
        "initialBackoff": "0.1s",
        "maxBackoff": "2s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
    }
