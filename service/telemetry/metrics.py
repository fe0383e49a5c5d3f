"""The metrics of the server. Their label values come only from loaded models and registered methods."""

from collections.abc import Collection, Sequence
from typing import Literal, NamedTuple, get_args

import grpc

from service.telemetry import shadow_metrics
from service.telemetry.shared_metrics import Counter, Family, Gauge, Histogram, MetricsPage

# Bounds from 0.1 ms to 10 s, each about 2.2 times the previous one.
_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_TENTHS = tuple(tenth / 10 for tenth in range(11))
_POWERS = tuple(float(2**power) for power in range(13))

# The names and labels of github.com/grpc-ecosystem/go-grpc-middleware's metrics, which gRPC dashboards use.
_METHOD = ("grpc_type", "grpc_service", "grpc_method")
STARTED = Family("counter", "grpc_server_started_total", "RPCs that started.", _METHOD)
HANDLED = Family("counter", "grpc_server_handled_total", "RPCs that ended, by status code.", (*_METHOD, "grpc_code"))
HANDLING = Family("histogram", "grpc_server_handling_seconds", "Time from start to end of an RPC.", _METHOD, _SECONDS)

_ROUTE = ("method", "route")
HTTP_REQUESTS = Family(
    "counter", "text_classifier_http_requests_total", "HTTP requests, by status code.", (*_ROUTE, "code")
)
HTTP_SECONDS = Family(
    "histogram", "text_classifier_http_request_seconds", "Time from start to end of an HTTP request.", _ROUTE, _SECONDS
)

_MODEL = ("model", "version")
INFO = Family("gauge", "text_classifier_model_info", "1 for each model version that is loaded.", (*_MODEL, "engine"))
IN_SERVICE = Family(
    "gauge", "text_classifier_model_in_service", "1 for the version that answers requests without a version.", _MODEL
)
REFUSED = Family(
    "gauge",
    "text_classifier_model_refused",
    "1 for each model version whose current files are refused; the log has the details.",
    (*_MODEL, "reason"),
)
TEXTS = Family("counter", "text_classifier_texts_total", "Texts classified, by winning label.", (*_MODEL, "label"))
TRAINING_LABELS = Family(
    "gauge", "text_classifier_training_label_ratio", "Share of the training texts with this label.", (*_MODEL, "label")
)
INFERENCE = Family("histogram", "text_classifier_inference_seconds", "Time of one engine call.", _MODEL, _SECONDS)
QUEUE = Family("histogram", "text_classifier_queue_seconds", "Time a request waits for its engine.", _MODEL, _SECONDS)
BATCH = Family("histogram", "text_classifier_batch_texts", "Texts in one engine call.", _MODEL, _POWERS)
DROPPED = Family(
    "counter",
    "text_classifier_dropped_requests_total",
    "Requests dropped before inference: deadline passed, cancelled by the client, or overload (the queue was full).",
    (*_MODEL, "reason"),
)
UNKNOWN = Family(
    "histogram",
    "text_classifier_unknown_word_ratio",
    "Share of a text's words that the model does not know; texts without words are not counted.",
    _MODEL,
    _TENTHS,
)
PROBABILITY = Family(
    "histogram", "text_classifier_winning_probability", "Probability of a text's winning label.", _MODEL, _TENTHS
)

TRANSPORT = Family(
    "gauge", "text_classifier_grpc_transport_info", "1 for the transport that serves gRPC.", ("transport",)
)
RESTARTS = Family("counter", "text_classifier_process_restarts_total", "Times that a process died and was restarted.")

LOG_DROPPED = Family(
    "counter", "text_classifier_log_lines_dropped_total", "Log lines dropped because standard error was not read."
)

FAMILIES = (
    STARTED,
    HANDLED,
    HANDLING,
    HTTP_REQUESTS,
    HTTP_SECONDS,
    INFO,
    IN_SERVICE,
    REFUSED,
    TEXTS,
    TRAINING_LABELS,
    INFERENCE,
    QUEUE,
    BATCH,
    DROPPED,
    UNKNOWN,
    PROBABILITY,
    TRANSPORT,
    RESTARTS,
    LOG_DROPPED,
    *shadow_metrics.FAMILIES,
)


Reason = Literal["deadline", "cancelled", "overload"]
"""The reason why a request was dropped."""


class Method(NamedTuple):
    """The labels of a gRPC method. `type` is unary, client_stream, server_stream or bidi_stream."""

    type: str
    service: str
    name: str

    @property
    def path(self) -> str:
        """The HTTP/2 path of the method's calls."""
        return f"/{self.service}/{self.name}"


class MethodMetrics:
    """The metrics of one gRPC method."""

    def __init__(self, page: MetricsPage, method: Method) -> None:
        self._page = page
        self._method = method
        self._started = Counter(page, STARTED, method)
        self._seconds = Histogram(page, HANDLING, method)
        self._handled = {grpc.StatusCode.OK: self._counter(grpc.StatusCode.OK)}

    def _counter(self, code: grpc.StatusCode) -> Counter:
        return Counter(self._page, HANDLED, (*self._method, code_label(code)))

    def started(self) -> None:
        """Counts the start of an RPC."""
        self._started.add()

    def handled(self, code: grpc.StatusCode, seconds: float) -> None:
        """Counts the end of an RPC."""
        if code not in self._handled:
            self._handled[code] = self._counter(code)
        self._handled[code].add()
        self._seconds.observe(seconds)


class RouteMetrics:
    """The metrics of one HTTP route."""

    def __init__(self, page: MetricsPage, method: str, route: str) -> None:
        self._page = page
        self._route = (method, route)
        self._seconds = Histogram(page, HTTP_SECONDS, self._route)
        self._codes: dict[int, Counter] = {}

    def handled(self, code: int, seconds: float) -> None:
        """Counts an answered request."""
        if code not in self._codes:
            self._codes[code] = Counter(self._page, HTTP_REQUESTS, (*self._route, str(code)))
        self._codes[code].add()
        self._seconds.observe(seconds)


class VersionStates:
    """The states of model versions."""

    def __init__(self, page: MetricsPage) -> None:
        self._page = page

    def in_service(self, name: str, version: int | None) -> None:
        """Sets the version in service; None: no version."""
        self._page.retire(lambda series: series.family == IN_SERVICE.name and series.labels[0] == name)
        if version:
            Gauge(self._page, IN_SERVICE, (name, str(version))).set(1)

    def refused(self, name: str, version: int, reason: str) -> None:
        """Sets that the version's files are refused.

        Args:
            name: the model's name.
            version: the version.
            reason: the reason in one word, such as `malformed`.
        """
        self.accepted(name, version)
        Gauge(self._page, REFUSED, (name, str(version), reason)).set(1)

    def accepted(self, name: str, version: int) -> None:
        """Sets that the version's files are not refused."""
        self._page.retire(lambda series: series.family == REFUSED.name and series.labels[:2] == (name, str(version)))

    def keep(self, versions: Collection[tuple[str, int]]) -> None:
        """Ends the series of all versions except these."""
        kept = {(name, str(version)) for name, version in versions}
        of_versions = {family.name for family in FAMILIES if family.labels[:2] == _MODEL}
        self._page.retire(lambda series: series.family in of_versions and series.labels[:2] not in kept)


class ModelMetrics:
    """The metrics of one model version.

    Args:
        page: the metrics page.
        name: the model's name.
        version: the version.
        engine: the name of the version's engine.
        labels: the version's labels.
        label_texts: the number of training texts of each label; empty if unknown.
    """

    def __init__(
        self,
        page: MetricsPage,
        name: str,
        version: int,
        engine: str,
        labels: Sequence[str],
        *,
        label_texts: Sequence[int] = (),
    ) -> None:
        model = (name, str(version))
        # Files that replace those of a version may have another engine and other labels.
        gauges = {INFO.name, TRAINING_LABELS.name}
        page.retire(lambda series: series.family in gauges and series.labels[:2] == model)
        self._info = Gauge(page, INFO, (*model, engine))
        self._texts = [Counter(page, TEXTS, (*model, label)) for label in labels]
        self._inference = Histogram(page, INFERENCE, model)
        self._queue = Histogram(page, QUEUE, model)
        self._batch = Histogram(page, BATCH, model)
        self._dropped = {reason: Counter(page, DROPPED, (*model, reason)) for reason in get_args(Reason)}
        self._unknown = Histogram(page, UNKNOWN, model)
        self._probability = Histogram(page, PROBABILITY, model)
        self._info.set(1)
        for label, texts in zip(labels, label_texts, strict=False):
            Gauge(page, TRAINING_LABELS, (*model, label)).set(texts / max(1, sum(label_texts)))

    def queued(self, seconds: float) -> None:
        """Records the time that a request waited for the engine."""
        self._queue.observe(seconds)

    def dropped(self, reason: Reason) -> None:
        """Counts a request that was dropped before inference."""
        self._dropped[reason].add()

    def inferred(self, texts: int, seconds: float) -> None:
        """Records one engine call."""
        self._batch.observe(texts)
        self._inference.observe(seconds)

    def classified(
        self,
        winners: Sequence[int],
        probabilities: Sequence[float],
        words: Sequence[int],
        known_words: Sequence[int],
    ) -> None:
        """Records classified texts.

        Args:
            winners: the most probable class of each text.
            probabilities: the probability of that class.
            words: the number of words in each text.
            known_words: the number of words in each text that the model knows.
        """
        for winner in winners:
            self._texts[winner].add()
        self._probability.observe_all(probabilities)
        self._unknown.observe_all([1 - known / all_ for known, all_ in zip(known_words, words, strict=True) if all_])


def code_label(code: grpc.StatusCode) -> str:
    """Returns a status code as Go spells it: DEADLINE_EXCEEDED becomes DeadlineExceeded; OK stays OK."""
    return "OK" if code is grpc.StatusCode.OK else code.name.title().replace("_", "")
