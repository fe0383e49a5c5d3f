"""Server reflection, as `grpc.reflection.v1` and as `v1alpha`, of which grpcio has only the latter.

Both have the same messages. Current tools call v1, some of them only v1.
"""

from typing import Any

import grpc
from google.protobuf import descriptor_pool, text_format
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.reflection import SERVICE_NAME as V1ALPHA
from grpc_reflection.v1alpha.reflection import aio

V1 = "grpc.reflection.v1.ServerReflection"
SERVICES = (V1, V1ALPHA)


class _Pool:
    """The descriptors of this process. Unlike protobuf's own pool, it finds methods by their symbols."""

    def __init__(self) -> None:
        self._pool = descriptor_pool.Default()
        self._pool.AddSerializedFile(_described_as_v1().SerializeToString())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    def FindFileContainingSymbol(self, symbol: str) -> FileDescriptor:  # noqa: N802, protobuf names it
        """Returns the file that defines a symbol.

        Raises:
            KeyError: no file defines it.
        """
        try:
            return self._pool.FindFileContainingSymbol(symbol)
        except KeyError:
            service, _, method = symbol.rpartition(".")
            return self._pool.FindServiceByName(service).methods_by_name[method].containing_service.file


def _described_as_v1() -> FileDescriptorProto:
    alpha = FileDescriptorProto()
    reflection_pb2.DESCRIPTOR.CopyToProto(alpha)
    alpha.options.ClearField("deprecated")
    text = text_format.MessageToString(alpha).replace("v1alpha", "v1")
    return text_format.Parse(text, FileDescriptorProto())


def reflection_servicer(services: tuple[str, ...]) -> aio.ReflectionServicer:
    """Returns the servicer that describes these services and itself."""
    return aio.ReflectionServicer((*services, *SERVICES), _Pool())


def add_reflection_to_server(servicer: Any, server: Any) -> None:
    """Registers the servicer under both names, as generated code registers one."""
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    for service in SERVICES:
        server.add_registered_method_handlers(service, {"ServerReflectionInfo": handler})
