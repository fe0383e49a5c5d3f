"""Asks a server with NVIDIA's `tritonclient`: `triton_client.py ADDRESS TEXTS_AS_JSON`."""

import json
import sys
from typing import Any

import grpc
import numpy as np
import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2, service_pb2_grpc


def main(address: str, texts: list[str]) -> dict[str, Any]:
    """Returns what the server said."""
    client = triton.InferenceServerClient(address)
    column = np.array([[text.encode()] for text in texts], dtype=np.object_)
    tensor = triton.InferInput("text", [len(texts), 1], "BYTES")
    tensor.set_data_from_numpy(column)
    outputs = [triton.InferRequestedOutput(name) for name in ("probabilities", "label")]
    everything = client.infer("topic", [tensor], model_version="1", request_id="7", client_timeout=60)
    some = client.infer("topic", [tensor], outputs=outputs)
    try:
        client.infer("nothing", [tensor])
    except triton.InferenceServerException as refused:
        error = {"status": refused.status(), "message": refused.message()}
    return {
        "live": client.is_server_live(),
        "ready": client.is_server_ready(),
        "model ready": client.is_model_ready("topic", "1"),
        "server": client.get_server_metadata(as_json=True),
        "model": client.get_model_metadata("topic", as_json=True),
        "id": everything.get_response().id,
        "version": everything.get_response().model_version,
        "label": [label.decode() for label in everything.as_numpy("label")],
        "probability": everything.as_numpy("probability").tolist(),
        "probabilities": everything.as_numpy("probabilities").tolist(),
        "some": [output.name for output in some.get_response().outputs],
        "some label": [label.decode() for label in some.as_numpy("label")],
        "error": error,
        "typed": typed(address, texts),
    }


def typed(address: str, texts: list[str]) -> list[str]:
    """Asks with its stubs for what its client never sends: contents that are not raw."""
    request = service_pb2.ModelInferRequest(model_name="topic")
    tensor = request.inputs.add(name="text", datatype="BYTES", shape=[len(texts)])
    tensor.contents.bytes_contents.extend(text.encode() for text in texts)
    with grpc.insecure_channel(address) as channel:
        response = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(request)
    return [label.decode() for label in triton.InferResult(response).as_numpy("label")]


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], json.loads(sys.argv[2]))))
