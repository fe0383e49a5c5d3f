"""Asks a server with MLServer's types, codecs, stubs and command: `mlserver_client.py GRPC HTTP TEXTS_AS_JSON`."""

import json
import subprocess
import sys
import urllib.request
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import grpc
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.grpc.converters import ModelInferRequestConverter, ModelInferResponseConverter
from mlserver.grpc.dataplane_pb2_grpc import GRPCInferenceServiceStub
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput


def main(address: str, http_address: str, texts: list[str]) -> dict[str, Any]:
    """Returns what the server said, by the way that it was asked."""
    return {
        "rest": over_rest(http_address, request(texts, use_bytes=False)),
        "grpc": over_grpc(address, request(texts), use_raw=False),
        "raw grpc": over_grpc(address, request(texts), use_raw=True),
        "infer": by_command(http_address, request(texts, use_bytes=False)),
        "infer --binary-data": by_command(http_address, request(texts, use_bytes=False), "--binary-data"),
    }


def request(texts: list[str], *, use_bytes: bool = True) -> InferenceRequest:
    """Encodes texts; JSON takes no bytes."""
    return InferenceRequest(id="7", inputs=[StringCodec.encode_input("text", texts, use_bytes=use_bytes)])


def over_rest(address: str, request: InferenceRequest) -> dict[str, Any]:
    """Sends the request as JSON."""
    headers = {"Content-Type": "application/json"}
    url = f"http://{address}/v2/models/topic/infer"
    with urllib.request.urlopen(urllib.request.Request(url, request.model_dump_json().encode(), headers)) as response:
        return values(InferenceResponse.model_validate_json(response.read()))


def over_grpc(address: str, request: InferenceRequest, *, use_raw: bool) -> dict[str, Any]:
    """Sends the request as protobuf."""
    message = ModelInferRequestConverter.from_types(request, "topic", None, use_raw=use_raw)
    with grpc.insecure_channel(address) as channel:
        response = GRPCInferenceServiceStub(channel).ModelInfer(message)
    return values(ModelInferResponseConverter.to_types(response))


def by_command(address: str, request: InferenceRequest, *arguments: str) -> dict[str, Any]:
    """Sends the request with `mlserver infer`."""
    with TemporaryDirectory() as folder:
        asked, answered = Path(folder, "asked.jsonl"), Path(folder, "answered.jsonl")
        asked.write_text(request.model_dump_json())
        command = [str(Path(sys.executable).with_name("mlserver")), "infer", *arguments, "--model-name", "topic"]
        command += ["--url", address, "--input-data-path", str(asked), "--output-data-path", str(answered)]
        subprocess.run([*command, "--retries", "1"], stdout=sys.stderr, check=True)
        return values(InferenceResponse.model_validate_json(answered.read_bytes()))


def values(response: InferenceResponse) -> dict[str, Any]:
    """The tensors by name, and what else the answer says."""
    tensors = {output.name: decoded(output) for output in response.outputs}
    return {"id": response.id, "version": response.model_version, **tensors}


def decoded(output: ResponseOutput) -> list[Any]:
    """The values of a tensor; the command makes a column of a vector."""
    if output.datatype == "BYTES":
        return list(StringCodec.decode_output(output))
    values = NumpyCodec.decode_output(output)
    return list((values.ravel() if values.shape[1:] == (1,) else values).tolist())


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]))))
