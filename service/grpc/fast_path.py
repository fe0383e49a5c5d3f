"""Configures what the native transport answers without Python: its methods, models and metrics.

It answers plain requests for models of the compiled engine. The servicers answer all others.
"""

from collections.abc import Mapping, Sequence
from typing import Any, get_args

import grpc

from service.config import Config
from service.errors import Overloaded
from service.grpc.native_server import FastKind, NativeServer
from service.grpc.open_inference_servicer import SERVICE as OPEN_INFERENCE
from service.grpc.status import to_status
from service.inference.repository import ModelRepository
from service.inference.servable import Servable
from service.telemetry.metrics import (
    BATCH,
    DROPPED,
    HANDLED,
    HANDLING,
    INFERENCE,
    PROBABILITY,
    QUEUE,
    STARTED,
    TEXTS,
    UNKNOWN,
    Method,
    Reason,
    VersionStates,
    code_label,
)
from service.telemetry.shared_metrics import Family, MetricsPage
from text_classifier.calls import SERVICE

_METHODS: Mapping[FastKind, Method] = {
    "classify": Method("unary", SERVICE, "Classify"),
    "classify-stream": Method("bidi_stream", SERVICE, "ClassifyStream"),
    "infer": Method("unary", OPEN_INFERENCE, "ModelInfer"),
}
_CODES = (
    grpc.StatusCode.OK,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.INTERNAL,
)
RETRY_SECONDS = 0.1
"""Time after which to try again when a queue was full."""


class FastPath:
    """Keeps the native transport's models up to date with the repository.

    Args:
        server: the transport. Its handlers must be registered already.
        repository: the models.
        page: the transport's own metrics page, whose series its threads update.
        config: the configuration, for the limits.
    """

    def __init__(self, server: NativeServer, repository: ModelRepository, page: MetricsPage, config: Config) -> None:
        self._server = server
        self._repository = repository
        self._page = page
        self._states = VersionStates(page)
        server.set_request_limits(
            {
                "texts": config.max_texts,
                "text_bytes": config.max_text_bytes,
                "queue_texts": config.max_queue_texts,
                "queue_bytes": config.max_queue_bytes,
            }
        )
        for kind, method in _METHODS.items():
            server.add_fast_method(method.path, kind, self._method_series(method))
        repository.subscribe(self.publish)

    def publish(self) -> None:
        """Gives the transport the versions that can answer now."""
        versions = [(version.servable, version) for version in self._repository.list() if version.servable]
        self._states.keep([(servable.name, servable.version) for servable, _ in versions])
        self._server.publish(
            [
                self._publication(servable, in_service=self._repository.in_service(version))
                for servable, version in versions
                if hasattr(servable.engine, "capsule")
            ]
        )

    def _publication(self, servable: Servable, *, in_service: bool) -> dict[str, Any]:
        engine: Any = servable.engine
        shadow = servable.shadow.running
        abstention = servable.metadata.abstention
        overload = Overloaded(f"the queue of model {servable.name!r}", RETRY_SECONDS)
        return {
            "name": servable.name,
            "number": servable.version,
            "in_service": in_service,
            "labels": servable.labels,
            "inline_bytes": engine.inline_bytes,
            "thresholds": abstention.thresholds if abstention else None,
            "reads_any_text": servable.metadata.tokenization == "unicode",
            "network": engine.capsule(),
            "metrics": self._model_series(servable),
            "overload": to_status(overload).SerializeToString(),
            "answers": shadow.listen(self._server.answer_queue) if shadow else None,
        }

    def _method_series(self, method: Method) -> dict[str, Any]:
        return {
            "started": self._page.series(STARTED, method),
            "handled": [self._page.series(HANDLED, (*method, code_label(code))) for code in _CODES],
            "seconds": self._histogram(HANDLING, method),
        }

    def _model_series(self, servable: Servable) -> dict[str, Any]:
        model = (servable.name, str(servable.version))
        return {
            "texts": [self._page.series(TEXTS, (*model, label)) for label in servable.labels],
            "inference": self._histogram(INFERENCE, model),
            "queue": self._histogram(QUEUE, model),
            "batch": self._histogram(BATCH, model),
            "unknown": self._histogram(UNKNOWN, model),
            "probability": self._histogram(PROBABILITY, model),
            "dropped": [self._page.series(DROPPED, (*model, reason)) for reason in get_args(Reason)],
        }

    def _histogram(self, family: Family, labels: Sequence[str]) -> tuple[Any, tuple[float, ...]]:
        return self._page.series(family, labels), family.bounds
