"""The metrics of a shadow version: how often it agrees with the version in service, and by how much it differs."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from service.telemetry.shared_metrics import Counter, Family, Histogram, MetricsPage

_VERSIONS = ("model", "version", "shadow_version")
_SMALL = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
_DIFFERENCES = (*(-bound for bound in reversed(_SMALL)), 0.0, *_SMALL, 1.0)

TEXTS = Family(
    "counter",
    "text_classifier_shadow_texts_total",
    "Texts that a shadow version classified too, by the label of the version in service and whether it agrees.",
    (*_VERSIONS, "label", "agrees"),
)
DIFFERENCE = Family(
    "histogram",
    "text_classifier_shadow_probability_difference",
    "Shadow version's probability of the label in service, less that of the version in service.",
    _VERSIONS,
    _DIFFERENCES,
)
DROPPED = Family(
    "counter",
    "text_classifier_shadow_dropped_texts_total",
    "Texts that a shadow version did not classify: overload (no room in its queue) or error (its engine failed).",
    (*_VERSIONS, "reason"),
)
CAPTURED = Family("counter", "text_classifier_captured_texts_total", "Texts written to the capture folder.")
CAPTURE_DROPPED = Family(
    "counter",
    "text_classifier_capture_dropped_texts_total",
    "Texts that were to be captured and are not: overload (no room in the queue) or disk (it could not be written).",
    ("reason",),
)
CAPTURE_REMOVED = Family(
    "counter", "text_classifier_capture_removed_files_total", "Oldest capture files, removed to make room for others."
)
FAMILIES = (TEXTS, DIFFERENCE, DROPPED, CAPTURED, CAPTURE_DROPPED, CAPTURE_REMOVED)

Reason = Literal["overload", "error"]


CaptureReason = Literal["overload", "disk"]


class CaptureMetrics:
    """The metrics of a process's capture of texts."""

    def __init__(self, page: MetricsPage) -> None:
        self.written = Counter(page, CAPTURED)
        self.dropped = {reason: Counter(page, CAPTURE_DROPPED, (reason,)) for reason in get_args(CaptureReason)}
        self.removed_files = Counter(page, CAPTURE_REMOVED)


class Agreement(NamedTuple):
    """The number of texts that a shadow has classified, and on how many it agrees with the version in service."""

    texts: int
    agreements: int


class ShadowMetrics:
    """The metrics of one shadow version compared with one version in service.

    Args:
        page: the metrics page of this process.
        pages: the metrics pages of all workers.
        versions: the model, its version in service and its shadow version.
        labels: the labels of the version in service.
    """

    def __init__(
        self,
        page: MetricsPage,
        pages: Sequence[MetricsPage],
        versions: tuple[str, int, int],
        labels: Sequence[str],
    ) -> None:
        self._page, self._pages = page, pages
        self._versions = tuple(map(str, versions))
        self._texts = {
            agrees: [Counter(page, TEXTS, (*self._versions, label, str(agrees).lower())) for label in labels]
            for agrees in (True, False)
        }
        self._difference = Histogram(page, DIFFERENCE, self._versions)
        self._dropped = {reason: Counter(page, DROPPED, (*self._versions, reason)) for reason in get_args(Reason)}

    def compared(
        self, winners: NDArray[np.int64], agrees: NDArray[np.bool_], differences: NDArray[np.floating[Any]]
    ) -> None:
        """Records texts that both versions have classified: class in service, agreement and difference of each."""
        for agree, counters in self._texts.items():
            counts = np.bincount(winners[agrees == agree], minlength=len(counters))
            for label in np.flatnonzero(counts):
                counters[label].add(int(counts[label]))
        self._difference.observe_all(differences.tolist())

    def dropped(self, reason: Reason, texts: int) -> None:
        """Counts dropped texts."""
        self._dropped[reason].add(texts)

    def end(self) -> None:
        """Ends the series, when the shadow stops."""
        names = {TEXTS.name, DIFFERENCE.name, DROPPED.name}
        self._page.retire(lambda series: series.family in names and series.labels[:3] == self._versions)

    def agreement(self) -> Agreement:
        """Returns the agreement over all workers."""
        texts = agreements = 0
        for page in self._pages:
            for series, values in page.read():
                if series.family == TEXTS.name and series.labels[:3] == self._versions:
                    texts += int(values[0])
                    agreements += int(values[0]) if series.labels[-1] == "true" else 0
        return Agreement(texts, agreements)
