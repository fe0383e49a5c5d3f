"""The HTTP routes of the real server, called as a browser, curl and a fuzzer would."""

import http.client
import json
import signal
import socket
import ssl
import struct
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trustme

from tests.certificates import PemFiles
from tests.server_process import ROOT, ServerProcess, serving
from tests.wire_format import raw_tensor
from text_classifier import Client

TOKEN = "a-token"
ORIGIN = "https://shop.example"


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: Any


def call(
    url: str,
    body: object = None,
    headers: Mapping[str, str] | None = None,
    *,
    method: str | None = None,
    context: ssl.SSLContext | None = None,
) -> Answer:
    """Sends a request, with a body as JSON unless it is bytes."""
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", **(headers or {})}, method=method)
    try:
        response = urllib.request.urlopen(request, timeout=60, context=context)
    except urllib.error.HTTPError as error:
        response = error
    with response:
        content = response.read()
        return Answer(response.status, response.headers, json.loads(content) if content.startswith(b"{") else content)


@pytest.fixture(scope="session")
def url(server: ServerProcess) -> str:
    return f"http://{server.http}"


def test_classify_answers_as_it_does_over_grpc(server: ServerProcess, url: str) -> None:
    texts = ["a moving film", "", "ΣΑΣ café \0 😀"]
    answer = call(f"{url}/v1/models/topic:classify", {"texts": texts, "top_k": 2, "explain": True})
    with Client(server.address, timeout=60) as client:
        expected = client.classify(texts, model="topic", top_k=2, explain=True)
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert (answer.body["model"], answer.body["version"]) == ("topic", 1)
    for got, wanted in zip(answer.body["classifications"], expected, strict=True):
        assert wanted.explanation
        assert got == {
            "label": wanted.label,
            "probability": wanted.probability,
            "scores": [score._asdict() for score in wanted.scores],
            "words": wanted.words,
            "known_words": wanted.known_words,
            "abstained": False,
            "explanation": {
                "bias": wanted.explanation.bias,
                "words": [word._asdict() for word in wanted.explanation.words],
            },
        }


def test_models_are_listed_and_described(server: ServerProcess, url: str) -> None:
    listed = call(f"{url}/v1/models").body["models"]
    assert [model["name"] for model in listed] == ["sentiment", "topic"]
    with Client(server.address, timeout=60) as client:
        expected = client.model("topic")
    described = call(f"{url}/v1/models/topic").body
    assert described == listed[1]
    wanted = {**expected._asdict(), "labels": list(expected.labels), "state": f"STATE_{expected.state.name}"}
    assert wanted.pop("shadow") is None
    assert described == wanted | {"thresholds": []}


def test_the_open_inference_routes_answer_as_their_rpcs(server: ServerProcess, url: str) -> None:
    assert call(f"{url}/v2").body["name"] == "text-classifier"
    assert call(f"{url}/v2/health/live").body == {"live": True}
    assert call(f"{url}/v2/health/ready").body == {"ready": True}
    for model in (f"{url}/v2/models/topic", f"{url}/v2/models/topic/versions/1"):
        assert call(f"{model}/ready").body == {"name": "topic", "ready": True}
        metadata = call(model).body
        assert metadata["inputs"] == [{"name": "text", "datatype": "BYTES", "shape": [-1]}]
        assert metadata["outputs"][2] == {"name": "probabilities", "datatype": "FP32", "shape": [-1, 5]}
        nested = {"name": "text", "datatype": "BYTES", "shape": [2, 1], "data": [["oil"], ["gold"]]}
        answer = call(f"{model}/infer", {"id": "7", "inputs": [nested], "outputs": [{"name": "label"}]})
        with Client(server.address, timeout=60) as client:
            labels = [each.label for each in client.classify(["oil", "gold"], model="topic")]
        output = {"name": "label", "datatype": "BYTES", "shape": [2], "data": labels}
        assert answer.body == {"model_name": "topic", "model_version": "1", "id": "7", "outputs": [output]}
    flat = {"name": "text", "datatype": "BYTES", "shape": [2], "data": ["oil", "gold"]}
    outputs = call(f"{url}/v2/models/topic/infer", {"inputs": [flat]}).body["outputs"]
    assert [(output["name"], output["shape"], len(output["data"])) for output in outputs] == [
        ("label", [2], 2),
        ("probability", [2], 2),
        ("probabilities", [2, 5], 10),
    ]


def _infer(tensor: bytes, parameters: bytes = b"{}") -> bytes:
    return b'{"parameters": %b, "inputs": [{"name": "text", "datatype": "BYTES", %b}]}' % (parameters, tensor)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"texts": []}, "texts: holds no text"),
        ({"texts": ["oil"] * 101}, "texts: holds 101 texts; at most 100"),
        ({"texts": ["x" * 1001]}, "texts[0]: has 1001 bytes"),
        ({"texts": ["oil"], "top_k": -1}, "top_k: expected an integer >= 0"),
        ({"texts": ["oil"], "top_k": 1.5}, "top_k: expected an integer, got a number"),
        ({"texts": ["oil"], "min_probability": 2}, "min_probability: expected a number <= 1"),
        ({"texts": ["oil"], "explain": 1}, "explain: expected true or false, got an integer"),
        ({"texts": ["oil", None]}, "texts[1]: expected a string, got null"),
        ({"texts": "oil"}, "texts: expected an array, got a string"),
        ({"texts": ["oil"], "model": "topic"}, "model: is not a field of this request: its fields are texts, version,"),
        ({"texts": ["oil"], "x" * 100_000: 1}, "…: is not a field of this request"),
        ({}, "texts: is missing"),
        ([], "body: expected an object, got an array"),
        (b"", "body: is empty: send JSON"),
        (b"{", "body: is not complete JSON"),
        (b"oil", "body: is not JSON: invalid character (byte 0)"),
        (b"\xff", "body: is not JSON: invalid character (byte 0)"),
        (b'\xef\xbb\xbf{"texts": ["oil"]}', "body: begins with a byte order mark: send UTF-8 without it"),
        ('{"texts": ["oil"]}'.encode("utf-16"), "body: begins with a byte order mark: send UTF-8 without it"),
        (b'{"texts": ["\xff"]}', "body: is not UTF-8"),
        (b'{"texts": ["\\ud800"]}', "half of a surrogate pair"),
        (b'{"texts": [' + b"[" * 100_000, "texts[0]: expected a string, got an array"),
    ],
)
def test_a_bad_request_is_400_with_the_status_of_grpc(url: str, body: object, says: str) -> None:
    answer = call(f"{url}/v1/models/topic:classify", body)
    error = answer.body["error"]
    assert (answer.status, error["code"], error["status"]) == (400, 400, "INVALID_ARGUMENT")
    assert says in error["message"]
    (detail,) = error["details"]
    assert detail["@type"] == "type.googleapis.com/google.rpc.BadRequest"


def test_an_error_of_the_open_inference_routes_has_the_protocols_form(url: str) -> None:
    tensor = {"name": "text", "datatype": "FP32", "shape": [1], "data": ["oil"]}
    answer = call(f"{url}/v2/models/topic/infer", {"inputs": [tensor]})
    assert answer.status == 400
    assert answer.body == {"error": "inputs[0].datatype: 'FP32' is not supported: send texts, as 'BYTES'"}
    assert call(f"{url}/v2/models/topic/infer", {"inputs": [], "parameters": {"deep": []}}).status == 400
    nested = b'{"inputs": [], "parameters": {"deep": ' + b"[" * 100_000
    assert call(f"{url}/v2/models/topic/infer", nested).status == 400
    tensor |= {"datatype": "BYTES"}
    classes = {"name": "label", "parameters": {"classification": 3}}
    answer = call(f"{url}/v2/models/topic/infer", {"inputs": [tensor], "outputs": [classes]})
    assert answer.status == 400
    assert "'classification' is not implemented" in answer.body["error"]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"{}", "inputs: is missing"),
        (b'{"inputs": [{"name": "text", "datatype": "BYTES"}]}', "inputs[0].shape: is missing"),
        (_infer(b'"shape": ["1"], "data": ["oil"]'), "inputs[0].shape[0]: expected an integer, got a string"),
        (
            _infer(b'"shape": [1], "data": [1]'),
            "inputs[0].data[0]: expected a string or an array, got an integer: send texts, as the datatype BYTES",
        ),
        (_infer(b'"shape": [1], "data": [[]]'), "inputs[0].data[0]: expected an array of length >= 1"),
        (_infer(b'"shape": [1], "data": ["oil"]', b'{"\xff": 1}'), "parameters: is not UTF-8"),
        (_infer(b'"shape": [1], "data": ["oil"]', b'["\xff"]'), "parameters: expected an object, got an array"),
        (_infer(b'"shape": [1], "data": ["oil"]', b'{"use_thresholds": "on"}'), "parameters['use_thresholds']: "),
        (_infer(b'"shape": [1], "data": ["oil"]', b"[" * 100_000), "body: is nested too deeply"),
    ],
)
def test_a_bad_field_of_an_inference_request_is_named(url: str, body: bytes, says: str) -> None:
    answer = call(f"{url}/v2/models/topic/infer", body)
    assert (answer.status, answer.body["error"][: len(says)]) == (400, says)


def test_a_slash_too_many_is_not_found_and_no_redirect_to_the_host_that_is_named(url: str) -> None:
    host, port = url.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=60)
    for path in ("/v1/models/", "/v2/health/live/", "//evil.example/v1/models"):
        connection.request("GET", path, headers={"Host": "localhost"})
        answer = connection.getresponse()
        answer.read()
        assert (answer.status, answer.headers["Location"]) == (404, None)
    connection.close()


def test_texts_behind_the_json_are_answered_behind_the_json(url: str) -> None:
    texts = [b"oil", "café".encode()]
    binary = raw_tensor(texts)
    tensor = {"name": "text", "datatype": "BYTES", "shape": [2], "parameters": {"binary_data_size": len(binary)}}
    outputs = [{"name": "label"}, {"name": "probability"}]
    content = json.dumps({"inputs": [tensor], "outputs": outputs}).encode()
    infer = f"{url}/v2/models/topic/infer"
    header = "Inference-Header-Content-Length"
    request = urllib.request.Request(infer, content + binary, {header: str(len(content))})
    with urllib.request.urlopen(request, timeout=60) as response:
        body, length = response.read(), int(response.headers[header])
        assert response.headers["Content-Type"] == "application/octet-stream"
    labels, probabilities = json.loads(body[:length])["outputs"]
    assert (labels["shape"], probabilities["shape"]) == ([2], [2])
    sizes = [output["parameters"]["binary_data_size"] for output in (labels, probabilities)]
    assert (sizes[1], sum(sizes)) == (8, len(body) - length)
    in_json = call(infer, {"inputs": [{**tensor, "data": [text.decode() for text in texts]}], "outputs": outputs})
    expected = [output["data"] for output in in_json.body["outputs"]]
    assert body[length:] == raw_tensor(label.encode() for label in expected[0]) + struct.pack("<2f", *expected[1])
    for bad in ("-1", "x", "", str(len(content + binary) + 1), "9" * 100, "²".encode().decode("latin-1")):
        refused = call(infer, content + binary, {header: bad})
        assert refused.status == 400
        assert header in refused.body["error"]
    cut = call(infer, content + binary[:-1], {header: str(len(content))})
    assert "ends in the middle of a text" in cut.body["error"]
    assert call(f"{url}/v2").body["extensions"] == ["binary_tensor_data"]


def test_what_is_not_there_is_404_and_a_wrong_method_405(url: str) -> None:
    answer = call(f"{url}/v1/models/nothing:classify", {"texts": ["oil"]})
    assert (answer.status, answer.body["error"]["status"]) == (404, "NOT_FOUND")
    assert "available are sentiment, topic" in answer.body["error"]["message"]
    assert call(f"{url}/v2/nothing").body == {"error": "no route /v2/nothing: /openapi.json describes the routes"}
    version = call(f"{url}/v1/models/topic/versions/1:classify", {"texts": ["oil"]}).body["error"]
    assert version["message"] == "no route /v1/models/topic/versions/1:classify: /openapi.json describes the routes"
    for path in ("/v1/models/nothing", "/v2/models/topic/versions/7", "/nothing", "/v1/models/a/b"):
        assert call(url + path).status == 404
    for path in ("/v1/models/topic:classify", "/v2/models/topic/infer"):
        answer = call(url + path)
        assert (answer.status, answer.headers["Allow"]) == (405, "POST")
        assert "does not take GET: /openapi.json" in str(answer.body["error"])


def test_a_query_parameter_is_refused_except_by_probes(url: str) -> None:
    for path in ("/v1/models/topic?version=abc", "/v1/models?version=", "/v2/models/topic?version=1"):
        answer = call(url + path)
        assert (answer.status, "version: is not a parameter" in str(answer.body["error"])) == (400, True)
    assert call(f"{url}/v2/health/live?at=1").status == 200


@pytest.mark.parametrize("route", ["/v1/models/topic:classify", "/v2/models/topic/infer"])
def test_a_timeout_is_a_deadline(url: str, route: str) -> None:
    tensor = {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["oil"]}
    body = {"texts": ["oil"]} if "v1" in route else {"inputs": [tensor]}
    for timeout in ("99999999H", "1M", "10S", "60000m", "60000000u"):
        assert call(url + route, body, {"Grpc-Timeout": timeout}).status == 200
    for timeout in ("1n", "0S"):
        passed = call(url + route, body, {"Grpc-Timeout": timeout})
        assert passed.status == 504
        assert "deadline" in str(passed.body["error"])
    for timeout in ("", "1", "S", "1s", "1 S", "-1S", "1.5S", "123456789S", "١S".encode().decode("latin-1")):
        refused = call(url + route, body, {"Grpc-Timeout": timeout})
        assert refused.status == 400
        assert "Grpc-Timeout" in str(refused.body["error"])
    assert call(f"{url}/v1/models", headers={"Grpc-Timeout": "soon"}).status == 400


def counted(server: ServerProcess, *series: str) -> list[float]:
    lines = [line.rpartition(" ") for line in server.metrics().splitlines()]
    return [sum(float(value) for name, _, value in lines if name == wanted) for wanted in series]


def test_requests_are_counted_by_route_and_their_texts_with_all_others(server: ServerProcess, url: str) -> None:
    series = (
        'text_classifier_http_requests_total{code="200",method="POST",route="/v1/models/{model}:classify"}',
        'text_classifier_inference_seconds_count{model="sentiment",version="1"}',
    )
    before = counted(server, *series)
    call(f"{url}/v1/models/sentiment:classify", {"texts": ["film"]})
    assert counted(server, *series) == [count + 1 for count in before]


def test_the_page_and_its_files_are_counted(server: ServerProcess, url: str) -> None:
    series = [
        f'text_classifier_http_requests_total{{code="200",method="GET",route="{route}"}}'
        for route in ("/", "/web/{file}")
    ]
    page, files = counted(server, *series)
    for path in ("/", "/web/page.js", "/web/style.css"):
        assert call(url + path).status == 200
    assert counted(server, *series) == [page + 1, files + 2]


def test_no_page_of_another_origin_may_read_unless_it_is_named(url: str, guarded: ServerProcess) -> None:
    asking = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}
    assert "Access-Control-Allow-Origin" not in call(f"{url}/v1/models", headers=asking).headers
    path = f"http://{guarded.http}/v1/models/topic:classify"
    asked = call(path, headers={**asking, "Access-Control-Request-Headers": "authorization"}, method="OPTIONS")
    assert (asked.status, asked.headers["Access-Control-Allow-Origin"]) == (200, ORIGIN)
    refused = call(path, headers={**asking, "Origin": "https://other.example"}, method="OPTIONS")
    assert "Access-Control-Allow-Origin" not in refused.headers
    answer = call(path, {"texts": ["oil"]}, {"Origin": ORIGIN, "Authorization": f"Bearer {TOKEN}"})
    assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (200, ORIGIN)


@pytest.fixture(scope="module")
def guarded(tiny_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """With tokens, and one origin."""
    tokens = tmp_path_factory.mktemp("tokens") / "tokens"
    tokens.write_text(TOKEN)
    flags = ("--workers", "1", "--tokens", str(tokens), "--cors-origins", ORIGIN, "--max-request-bytes", "1000")
    with serving(tiny_models, *flags) as server:
        yield server


def test_with_tokens_every_route_but_health_and_the_description_needs_one(guarded: ServerProcess) -> None:
    url = f"http://{guarded.http}"
    body = {"texts": ["oil"]}
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": TOKEN}):
        for path in ("/v1/models", "/v1/models/topic", "/v2", "/v2/models/topic/ready"):
            answer = call(url + path, headers=headers)
            assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
        assert call(f"{url}/v1/models/topic:classify", body, headers).status == 401
        for path in ("/v2/health/ready", "/openapi.json"):
            assert call(url + path, headers=headers).status == 200
    assert call(f"{url}/v1/models/topic:classify", body, {"Authorization": f"Bearer {TOKEN}"}).status == 200


def test_a_body_over_the_limit_is_refused_however_it_comes(guarded: ServerProcess) -> None:
    body = json.dumps({"texts": ["x" * 1000]}).encode()
    headers = {"Authorization": f"Bearer {TOKEN}"}
    url = f"http://{guarded.http}/v1/models/topic:classify"
    for sent in (body, iter([body[:10], body[10:]])):  # what is iterated over goes in chunks
        request = urllib.request.Request(url, sent, headers)
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=60)
        assert refused.value.code == 413
        assert b"maximum of 1000 bytes" in refused.value.read()


def test_https_and_mutual_tls_hold_for_http_too(tiny_models: Path, tmp_path: Path) -> None:
    authority = trustme.CA()
    files = PemFiles(tmp_path)
    files.write(authority.issue_cert("127.0.0.1"))
    ca = tmp_path / "clients.pem"
    authority.cert_pem.write_to_path(str(ca))
    trusting = ssl.create_default_context(cadata=authority.cert_pem.bytes().decode())
    with serving(tiny_models, "--workers", "1", *files.flags, "--tls-client-ca", str(ca)) as server:
        url = f"https://{server.http}/v1/models"
        with pytest.raises(OSError, match=r"."):
            call(url, context=trusting)
        with pytest.raises(OSError, match=r"."):
            call(url.replace("https", "http"))
        authority.issue_cert("client@example.org").configure_cert(trusting)
        assert call(url, context=trusting).status == 200
        page = call(f"https://127.0.0.1:{server.event('metrics')['port']}/", context=trusting)  # redirected
        assert page.body.startswith(b"<!doctype html>")


def at_metrics(
    server: ServerProcess, path: str, host: str | None = "localhost:8000", method: str = "GET"
) -> tuple[int, str | None, bytes]:
    """Asks the metrics port, and follows no redirect: status, location and body."""
    connection = http.client.HTTPConnection("127.0.0.1", server.event("metrics")["port"], timeout=60)
    with closing(connection):
        connection.putrequest(method, path, skip_host=True)
        if host is not None:
            connection.putheader("Host", host)
        connection.endheaders()
        response = connection.getresponse()
        return response.status, response.headers["Location"], response.read()


def test_the_metrics_port_sends_a_browser_on_to_the_page_by_the_name_that_it_knows(guarded: ServerProcess) -> None:
    port = guarded.event("started")["http_port"]
    for name in ("localhost", "127.0.0.1", "[::1]"):
        for host in (name, f"{name}:8000"):
            assert at_metrics(guarded, "/", host)[:2] == (307, f"http://{name}:{port}/")
    foreign = ("classifier.example", "127.0.0.1.example", "a b", "user@localhost", "localhost/x", "[::1", "a:b")
    for name in ("", *foreign, "é".encode().decode("latin-1")):
        for path in ("/", "/metrics"):
            assert at_metrics(guarded, path, name)[:2] == (421, None)
    assert at_metrics(guarded, "/", None)[:2] == (421, None)


def test_the_metrics_port_has_nothing_but_metrics_and_that_way_to_the_page(
    server: ServerProcess, guarded: ServerProcess
) -> None:
    for path in ("/nothing", "/metrics/", "/web/page.js", "/favicon.ico"):
        assert at_metrics(server, path)[0] == 404
    assert at_metrics(server, "/", method="POST")[0] == 404
    assert b"grpc_server_started_total" in at_metrics(server, "/metrics")[2]
    assert at_metrics(guarded, "/metrics")[0] == 401


def test_off_leaves_the_port_alone_and_no_way_leads_to_the_page(tiny_models: Path) -> None:
    with serving(tiny_models, "--workers", "1", "--http-port", "off") as server:
        assert server.event("started")["http_port"] is None
        assert at_metrics(server, "/") == (200, None, b"Metrics are at /metrics.\n")


def accepts(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=60).close()
    except OSError:
        return False
    return True


def test_a_request_in_flight_when_the_server_stops_is_answered(tiny_models: Path) -> None:
    with serving(tiny_models, "--workers", "1") as server:
        host, port = server.http.split(":")
        body = b'{"texts": ["oil"]}'
        head = (
            f"POST /v1/models/topic:classify HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        )
        with socket.create_connection((host, int(port)), timeout=60) as connection:
            connection.sendall(head + body[:5])
            # Answered only when the worker has seen the first part, too: both are read in order by one event loop.
            assert call(f"http://{server.http}/v2/health/live").status == 200
            server.signal(signal.SIGTERM)
            while accepts(host, int(port)):  # until the worker takes no more connections
                pass
            connection.sendall(body[5:])
            answer = connection.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert b'"label"' in answer


def test_the_openapi_document_names_each_operation_and_leaves_free_form_objects_open(url: str) -> None:
    document = call(f"{url}/openapi.json").body
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    assert [operation["operationId"] for operation in operations] == [
        *("classify", "listModels", "getModel", "serverMetadata", "serverLive", "serverReady"),
        *("modelMetadata", "modelReady", "infer", "modelMetadataOfVersion", "modelReadyOfVersion", "inferOfVersion"),
    ]
    schemas = document["components"]["schemas"]
    open_objects = [schemas["Status"]["properties"]["details"]["items"]]
    open_objects += [schemas[name]["properties"]["parameters"] for name in ("InferenceRequest", "InputTensor")]
    assert all(each["additionalProperties"] is True for each in open_objects)


def test_schemathesis_finds_every_route_to_keep_what_the_openapi_document_says(server: ServerProcess, url: str) -> None:
    config = Path(__file__).with_name("schemathesis.toml")
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(config), "run", f"{url}/openapi.json"]
    command += ["--phases", "coverage,fuzzing", "--max-examples", "20", "--no-color"]
    found = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    assert found.returncode == 0, found.stdout
    assert "12 selected / 12 total" in found.stdout
    assert not [line for line in server.log if line.get("level") == "error"]
