"""Asks a server with KServe's `InferenceGRPCClient`: `kserve_client.py ADDRESS TEXTS_AS_JSON`."""

import asyncio
import json
import sys
from typing import Any

import grpc
import numpy as np
from kserve import InferenceGRPCClient, InferInput, InferRequest


async def main(address: str, texts: list[str]) -> dict[str, Any]:
    """Returns what the server said."""
    encoded = [text.encode() for text in texts]
    typed = InferInput("text", [len(texts)], "BYTES", encoded)
    raw = InferInput("text", [len(texts)], "BYTES")
    raw.set_data_from_numpy(np.array(encoded, dtype=np.object_), binary_data=True)
    async with InferenceGRPCClient(address) as client:
        answer = await client.infer(InferRequest("topic", [typed], request_id="7"))
        answer_to_raw = await client.infer(InferRequest("topic", [raw]))
        try:
            await client.infer(InferRequest("nothing", [typed]))
        except grpc.RpcError as refused:
            error = str(refused.code())
        return {
            "live": await client.is_server_live(),
            "ready": await client.is_server_ready(),
            "model ready": await client.is_model_ready("topic"),
            "id": answer.id,
            "version": answer.model_version,
            **values(answer),
            "raw": values(answer_to_raw),
            "error": error,
        }


def values(answer: Any) -> dict[str, list[Any]]:
    """The tensors by name, texts as strings."""
    tensors = {tensor.name: tensor.as_numpy().tolist() for tensor in answer.outputs}
    return tensors | {"label": [label.decode() for label in tensors["label"]]}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(sys.argv[1], json.loads(sys.argv[2])))))
