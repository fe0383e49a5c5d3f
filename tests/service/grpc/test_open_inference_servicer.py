"""The Open Inference Protocol over gRPC, with the clients that people have, and requests that those would not send."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2, status_pb2

from service.errors import NotReady
from service.grpc.health import HealthServicer
from service.grpc.open_inference_servicer import OpenInferenceServicer
from service.grpc.stubs import open_inference_pb2 as pb2
from service.grpc.stubs import open_inference_pb2_grpc as pb2_grpc
from tests.server_process import ROOT, ServerProcess
from tests.tiny_model import PROBE_TEXTS
from tests.wire_format import raw_tensor
from text_classifier import Client

TEXTS = [*PROBE_TEXTS, "oil"]


@pytest.fixture
def inference(channel: grpc.Channel) -> pb2_grpc.GRPCInferenceServiceStub:
    return pb2_grpc.GRPCInferenceServiceStub(channel)


@pytest.fixture(scope="module")
def expected(server: ServerProcess) -> dict[str, list[Any]]:
    """What Classify says of `TEXTS`."""
    with Client(server.address, timeout=60) as client:
        answers = client.classify(TEXTS, model="topic", top_k=5)
        labels = next(model.labels for model in client.models() if model.name == "topic")
    return {
        "label": [answer.label for answer in answers],
        "probability": [answer.probability for answer in answers],
        "probabilities": [[dict(answer.scores)[label] for label in labels] for answer in answers],
    }


def ask(program: str, *addresses: str, python: Path | str = sys.executable) -> dict[str, Any]:
    """Runs one of the peers."""
    command = [str(python), f"tests/peers/{program}.py", *addresses, json.dumps(TEXTS)]
    heard: dict[str, Any] = json.loads(subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout)
    return heard


def request(texts: Sequence[str] = ("oil",), **fields: Any) -> pb2.ModelInferRequest:
    made = pb2.ModelInferRequest(**{"model_name": "topic", **fields})
    tensor = made.inputs.add(name="text", datatype="BYTES", shape=[len(texts)])
    tensor.contents.bytes_contents.extend(text.encode() for text in texts)
    return made


def test_tritonclient_unchanged_gets_what_classify_gives(server: ServerProcess, expected: dict[str, list[Any]]) -> None:
    heard = ask("triton_client", server.address)
    assert all((heard["live"], heard["ready"], heard["model ready"]))
    assert heard["server"]["name"] == "text-classifier"
    assert heard["model"] == {
        "name": "topic",
        "versions": ["1"],
        "platform": "tensorflow_savedmodel",
        "inputs": [{"name": "text", "datatype": "BYTES", "shape": ["-1"]}],
        "outputs": [
            {"name": "label", "datatype": "BYTES", "shape": ["-1"]},
            {"name": "probability", "datatype": "FP32", "shape": ["-1"]},
            {"name": "probabilities", "datatype": "FP32", "shape": ["-1", "5"]},
            {"name": "abstained", "datatype": "BOOL", "shape": ["-1"]},
        ],
    }
    assert (heard["id"], heard["version"]) == ("7", "1")
    assert {name: heard[name] for name in expected} == expected
    assert heard["some"] == ["probabilities", "label"]
    assert heard["some label"] == heard["typed"] == expected["label"]
    assert heard["error"]["status"] == "StatusCode.NOT_FOUND"
    assert "topic" in heard["error"]["message"]


def test_the_client_of_kserve_unchanged_gets_what_classify_gives(
    server: ServerProcess, expected: dict[str, list[Any]], kserve_python: Path
) -> None:
    heard = ask("kserve_client", server.address, python=kserve_python)
    assert all((heard["live"], heard["ready"], heard["model ready"]))
    assert (heard["id"], heard["version"]) == ("7", "1")
    assert {name: heard[name] for name in expected} == heard["raw"] == expected
    assert heard["error"] == "StatusCode.NOT_FOUND"


def test_mlserver_s_client_unchanged_gets_what_classify_gives_over_grpc_and_http(
    server: ServerProcess, expected: dict[str, list[Any]], mlserver_python: Path
) -> None:
    heard = ask("mlserver_client", server.address, server.http, python=mlserver_python)
    assert list(heard) == ["rest", "grpc", "raw grpc", "infer", "infer --binary-data"]
    for way, answer in heard.items():
        assert answer == {"id": "7", "version": "1", **expected}, way


def test_contents_come_back_as_they_were_sent(
    inference: pb2_grpc.GRPCInferenceServiceStub, expected: dict[str, list[Any]]
) -> None:
    typed = inference.ModelInfer(request(TEXTS, id="a"))
    assert (typed.model_name, typed.model_version, typed.id) == ("topic", "1", "a")
    label, probability, probabilities = typed.outputs
    assert [text.decode() for text in label.contents.bytes_contents] == expected["label"]
    assert list(probability.contents.fp32_contents) == expected["probability"]
    assert np.reshape(probabilities.contents.fp32_contents, (5, 5)).tolist() == expected["probabilities"]
    assert [list(tensor.shape) for tensor in typed.outputs] == [[5], [5], [5, 5]]

    raw = request()
    raw.inputs[0].ClearField("contents")
    raw.inputs[0].shape[:] = [len(TEXTS), 1]
    raw.raw_input_contents.append(raw_tensor([text.encode() for text in TEXTS]))
    raw.inputs[0].contents.SetInParent()  # empty, as MLServer sends them
    answer = inference.ModelInfer(raw)
    assert not any(tensor.HasField("contents") for tensor in answer.outputs)
    assert answer.raw_output_contents[0] == raw_tensor(label.contents.bytes_contents)
    for tensor, contents in zip(typed.outputs[1:], answer.raw_output_contents[1:], strict=True):
        assert np.frombuffer(contents, "<f4").tolist() == list(tensor.contents.fp32_contents)


def wrong(**fields: Any) -> pb2.ModelInferRequest:
    """A request whose tensor has these fields instead."""
    made = request()
    for name, value in fields.items():
        if name == "shape":
            made.inputs[0].shape[:] = value
        else:
            setattr(made.inputs[0], name, value)
    return made


def raw(*contents: bytes, count: int = 1, keep: bool = False) -> pb2.ModelInferRequest:
    made = wrong(shape=[count])
    if not keep:
        made.inputs[0].ClearField("contents")
    made.raw_input_contents.extend(contents)
    return made


def wanting(*outputs: str, **parameters: int) -> pb2.ModelInferRequest:
    made = request()
    for name in outputs:
        output = made.outputs.add(name=name)
        for parameter, value in parameters.items():
            output.parameters[parameter].int64_param = value
    return made


def latin1() -> pb2.ModelInferRequest:
    made = request(["oil", "oil"])
    made.inputs[0].contents.bytes_contents[1] = b"caf\xe9"
    return made


@pytest.mark.parametrize(
    ("bad", "field", "says"),
    [
        (pb2.ModelInferRequest(model_name="topic"), "inputs", "holds 0 tensors"),
        (wrong(name="texts"), "inputs[0].name", "the only input is 'text'"),
        (wrong(name="x" * 100_000), "inputs[0].name", "the only input is 'text'"),
        (wrong(datatype="FP32"), "inputs[0].datatype", "'FP32' is not supported: send texts, as 'BYTES'"),
        (wrong(shape=[]), "inputs[0].shape", "not [n] or [n, 1]"),
        (wrong(shape=[1, 2]), "inputs[0].shape", "not [n] or [n, 1]"),
        (wrong(shape=[1, 1, 1]), "inputs[0].shape", "not [n] or [n, 1]"),
        (wrong(shape=[-1]), "inputs[0].shape", "not [n] or [n, 1]"),
        (wrong(shape=[2]), "inputs[0].shape", "is for 2 texts, but the contents hold 1"),
        (request([]), "text", "holds no text"),
        (request(["oil"] * 101), "text", "holds 101 texts; at most 100"),
        (request(["oil", "é" * 501]), "text[1]", "has 1002 bytes; at most 1000"),
        (latin1(), "text[1]", "is not UTF-8"),
        (request(model_version="0"), "model_version", "'0' is not a version"),
        (request(model_version="one"), "model_version", "'one' is not a version"),
        (request(model_name=""), "model_name", "is empty"),
        (raw(raw_tensor([b"a", b"b"])), "inputs[0].shape", "is for 1 texts, but the contents hold 2"),
        (raw(raw_tensor([b"a"]), count=2), "inputs[0].shape", "is for 2 texts, but the contents hold 1"),
        (raw(raw_tensor([b"abc"])[:-1]), "raw_input_contents[0]", "ends in the middle of a text"),
        (raw(b"\0\0"), "raw_input_contents[0]", "ends in the middle of a text"),
        (raw(raw_tensor([b"a"]), raw_tensor([b"a"])), "raw_input_contents", "replaces the contents of the tensor"),
        (raw(raw_tensor([b"a"]), keep=True), "raw_input_contents", "replaces the contents of the tensor"),
        (wanting("probability", "logits"), "outputs[1].name", "'logits' is not an output"),
        (wanting("label", "label"), "outputs[1].name", "requested twice"),
        (wanting("label", classification=3), "outputs[0].parameters", "'classification' is not implemented"),
    ],
)
def test_a_bad_request_names_the_field_at_fault(
    inference: pb2_grpc.GRPCInferenceServiceStub, bad: pb2.ModelInferRequest, field: str, says: str
) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        inference.ModelInfer(bad)
    assert says in str(refused.value.details())
    assert field_at_fault(refused.value) == field


def test_an_empty_name_of_a_model_is_the_fault_of_the_field_that_held_it(
    inference: pb2_grpc.GRPCInferenceServiceStub,
) -> None:
    calls: list[tuple[Any, Any]] = [
        (inference.ModelReady, pb2.ModelReadyRequest()),
        (inference.ModelMetadata, pb2.ModelMetadataRequest()),
    ]
    for method, asked in calls:
        with pytest.raises(grpc.RpcError) as refused:
            method(asked)
        assert field_at_fault(refused.value) == "name"
    abstaining = request(model_name="")
    abstaining.parameters["min_probability"].double_param = 0.5
    with pytest.raises(grpc.RpcError) as refused:
        inference.ModelInfer(abstaining)
    assert field_at_fault(refused.value) == "model_name"


def field_at_fault(error: Any) -> str:
    """The field that the details of an INVALID_ARGUMENT name."""
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    status = status_pb2.Status.FromString(dict(error.trailing_metadata())["grpc-status-details-bin"])
    details = error_details_pb2.BadRequest()
    assert status.details[0].Unpack(details)
    return str(details.field_violations[0].field)


def test_a_model_that_is_not_there_is_not_found_and_one_that_is_is_ready(
    inference: pb2_grpc.GRPCInferenceServiceStub,
) -> None:
    assert inference.ModelReady(pb2.ModelReadyRequest(name="topic")).ready
    calls: list[tuple[Any, Any]] = [
        (inference.ModelInfer, request(model_name="nothing")),
        (inference.ModelInfer, request(model_version="7")),
        (inference.ModelReady, pb2.ModelReadyRequest(name="nothing")),
        (inference.ModelMetadata, pb2.ModelMetadataRequest(name="topic", version="7")),
    ]
    for method, asked in calls:
        with pytest.raises(grpc.RpcError) as refused:
            method(asked)
        error: Any = refused.value
        assert error.code() is grpc.StatusCode.NOT_FOUND


def test_nothing_is_ready_before_the_server_serves_and_its_models_are_loaded() -> None:
    class Loading:
        def find(self, name: str, version: int, field: str) -> None:
            raise NotReady

    async def test() -> None:
        health, call = HealthServicer(("",)), cast("Any", None)
        servicer = OpenInferenceServicer(cast("Any", Loading()), cast("Any", None), health)
        for serving in (False, True):
            health.set(serving)
            assert (await servicer.ServerReady(pb2.ServerReadyRequest(), call)).ready == serving
        assert not (await servicer.ModelReady(pb2.ModelReadyRequest(name="topic"), call)).ready

    asyncio.run(test())


def test_its_texts_are_counted_with_those_of_classify(
    server: ServerProcess, inference: pb2_grpc.GRPCInferenceServiceStub
) -> None:
    def counted() -> float:
        lines = [line for line in server.metrics().splitlines() if line.startswith("text_classifier_texts_total{")]
        return sum(float(line.split()[-1]) for line in lines if 'model="topic"' in line)

    before = counted()
    inference.ModelInfer(request(TEXTS))
    assert counted() == before + len(TEXTS)
    assert 'grpc_method="ModelInfer",grpc_service="inference.GRPCInferenceService"' in server.metrics()
