"""Abstention by every protocol, by the clients and by the command."""

import json
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import msgspec
import pytest
from google.rpc import error_details_pb2, status_pb2

from service.grpc.stubs import open_inference_pb2, open_inference_pb2_grpc
from tests.server_process import ServerProcess, serving
from text_classifier import Client, cli
from textmodel import VersionFolder
from textmodel.metadata import Abstention

TEXTS = ["the moving film", "dull dull film", "oil", ""]


@pytest.fixture(scope="module")
def server(tiny_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server of `sentiment` with thresholds and of `topic` without."""
    models = tmp_path_factory.mktemp("abstention") / "models"
    shutil.copytree(tiny_models, models)
    folder = VersionFolder(models / "sentiment" / "1")
    abstention = Abstention(0.95, (0.7, 2.0))
    msgspec.structs.replace(folder.metadata, abstention=abstention).write(folder.metadata_file)
    with serving(models, "--workers", "1") as server:
        yield server


@pytest.fixture(scope="module")
def client(server: ServerProcess) -> Iterator[Client]:
    with Client(server.address, timeout=60) as client:
        yield client


def expected(client: Client, min_probability: float = 0, *, use_thresholds: bool = False) -> list[bool]:
    """Returns which answers are below what is asked for."""
    thresholds = {"negative": 0.7, "positive": 2.0} if use_thresholds else {}
    answers = client.classify(TEXTS, model="sentiment")
    assert not any(answer.abstained for answer in answers)
    return [answer.probability < max(min_probability, thresholds.get(answer.label, 0)) for answer in answers]


def between(client: Client) -> float:
    """Returns a probability that some answers reach and others do not."""
    low, *_, high = sorted(answer.probability for answer in client.classify(TEXTS, model="sentiment"))
    return (low + high) / 2


def infer(server: ServerProcess, model: str = "sentiment", **fields: Any) -> open_inference_pb2.ModelInferResponse:
    request = open_inference_pb2.ModelInferRequest(model_name=model, **fields)
    contents = open_inference_pb2.InferTensorContents(bytes_contents=[text.encode() for text in TEXTS])
    request.inputs.add(name="text", datatype="BYTES", shape=[len(TEXTS)], contents=contents)
    with grpc.insecure_channel(server.address) as channel:
        response: open_inference_pb2.ModelInferResponse = open_inference_pb2_grpc.GRPCInferenceServiceStub(
            channel
        ).ModelInfer(request)
        return response


def post(server: ServerProcess, path: str, body: object) -> Any:
    request = urllib.request.Request(f"http://{server.http}{path}", json.dumps(body).encode())
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


@pytest.mark.parametrize("use_thresholds", [False, True])
def test_all_protocols_mark_the_same_answers(server: ServerProcess, client: Client, use_thresholds: bool) -> None:
    probability = between(client)
    wanted = expected(client, probability, use_thresholds=use_thresholds)
    assert any(wanted)
    asked: dict[str, Any] = {"min_probability": probability, "use_thresholds": use_thresholds}
    assert [answer.abstained for answer in client.classify(TEXTS, model="sentiment", **asked)] == wanted
    assert [answer.abstained for answer in client.classify_stream(TEXTS, model="sentiment", **asked)] == wanted
    answers = post(server, "/v1/models/sentiment:classify", {"texts": TEXTS, **asked})["classifications"]
    assert [answer["abstained"] for answer in answers] == wanted
    parameters = {
        "min_probability": open_inference_pb2.InferParameter(double_param=probability),
        "use_thresholds": open_inference_pb2.InferParameter(bool_param=use_thresholds),
    }
    tensor = infer(server, parameters=parameters).outputs[-1]
    assert (tensor.name, tensor.datatype, list(tensor.shape)) == ("abstained", "BOOL", [len(TEXTS)])
    assert list(tensor.contents.bool_contents) == wanted
    tensor_of_texts = {"name": "text", "datatype": "BYTES", "shape": [len(TEXTS)], "data": TEXTS}
    body = {"inputs": [tensor_of_texts], "parameters": asked}
    assert post(server, "/v2/models/sentiment/infer", body)["outputs"][-1]["data"] == wanted


def test_the_open_inference_protocol_has_the_tensor_only_for_who_asks(server: ServerProcess) -> None:
    assert [tensor.name for tensor in infer(server).outputs] == ["label", "probability", "probabilities"]
    wanted = open_inference_pb2.ModelInferRequest.InferRequestedOutputTensor(name="abstained")
    (tensor,) = infer(server, outputs=[wanted]).outputs
    assert list(tensor.contents.bool_contents) == [False] * len(TEXTS)


def test_a_version_tells_its_thresholds(server: ServerProcess, client: Client) -> None:
    model = client.model("sentiment")
    assert model.thresholds == pytest.approx((0.7, 2.0))
    assert model.target_precision == 0.95
    assert client.model("topic").thresholds == ()
    with urllib.request.urlopen(f"http://{server.http}/v1/models/sentiment", timeout=60) as response:
        assert json.load(response)["thresholds"] == pytest.approx([0.7, 2.0])


@pytest.mark.parametrize("probability", [-0.1, 1.1, float("nan")])
def test_what_is_no_probability_is_refused(client: Client, probability: float) -> None:
    with pytest.raises(grpc.RpcError) as error:
        client.classify(TEXTS, model="sentiment", min_probability=probability)
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "min_probability: " in str(error.value.details())


def test_thresholds_of_a_version_without_them_are_a_failed_precondition(client: Client) -> None:
    with pytest.raises(grpc.RpcError) as error:
        client.classify(TEXTS, model="topic", use_thresholds=True)
    assert error.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    trailers: dict[str, Any] = dict(error.value.trailing_metadata())  # type: ignore[arg-type]
    (detail,) = status_pb2.Status.FromString(trailers["grpc-status-details-bin"]).details
    failure = error_details_pb2.PreconditionFailure()
    assert detail.Unpack(failure)
    assert (failure.violations[0].type, failure.violations[0].subject) == ("ABSTAIN", "models/topic/versions/1")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("min_probability", open_inference_pb2.InferParameter(string_param="0.5")),
        ("use_thresholds", open_inference_pb2.InferParameter(int64_param=1)),
    ],
)
def test_a_parameter_of_another_kind_is_refused(
    server: ServerProcess, name: str, value: open_inference_pb2.InferParameter
) -> None:
    with pytest.raises(grpc.RpcError, match=rf"parameters\['{name}'\]: is no") as error:
        infer(server, parameters={name: value})
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_json_parameters_of_another_kind_are_refused(server: ServerProcess) -> None:
    tensor = {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["oil"]}
    with pytest.raises(urllib.error.HTTPError) as error:
        post(server, "/v2/models/sentiment/infer", {"inputs": [tensor], "parameters": {"min_probability": [1]}})
    assert error.value.code == 400
    body = {"inputs": [tensor], "parameters": {"another": {"of": ["any", "kind"]}}}
    assert len(post(server, "/v2/models/sentiment/infer", body)["outputs"]) == 3


def test_the_command_marks_answers(
    server: ServerProcess, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["text-classifier", "classify", "--address", server.address, "--model", "sentiment", *TEXTS[:1]]
    monkeypatch.setattr("sys.argv", [*command, "--min-probability", "1"])
    assert cli.main() == 0
    assert capsys.readouterr().out.rstrip().endswith("\tabstained")
    monkeypatch.setattr("sys.argv", [*command, "--min-probability", "1", "--json"])
    assert cli.main() == 0
    assert json.loads(capsys.readouterr().out)["abstained"] is True
