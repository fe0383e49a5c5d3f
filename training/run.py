"""The results of a training run, for the report, the terminal and the caller."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from textmodel.version_folder import VersionFolder
from training.classifiers.history import History
from training.classifiers.selection import Selection
from training.data.quality import Quality
from training.evaluation.metrics import Evaluation
from training.evaluation.promotion import Decision
from training.resource_usage import Cost

Search = History | Selection
"""The search on held-out texts before the model is fitted: the epochs of `dense`, the trials of `ngram`."""


@dataclass(frozen=True)
class Classes:
    """The classes and their training texts."""

    labels: Sequence[str]
    training_texts: NDArray[np.int64]
    """(classes,), the number of training texts."""
    weights: NDArray[np.float64]
    """(classes,), the class weight in the loss."""

    def table(self, evaluation: Evaluation) -> list[list[str]]:
        """Returns the rows of a table of the classes, the header first."""
        columns = zip(
            self.labels,
            self.training_texts,
            self.weights,
            evaluation.support,
            evaluation.precision,
            evaluation.recall,
            evaluation.f1,
            strict=True,
        )
        head = ["label", "training texts", "weight", "test texts", "precision", "recall", "F1"]
        return [
            head,
            *(
                [label, f"{texts:,}", f"{weight:.3g}", f"{support:,}", *(f"{share:.3f}" for share in shares)]
                for label, texts, weight, support, *shares in columns
            ),
        ]


@dataclass(frozen=True)
class Run:
    """The results of a training run, including the version that it wrote."""

    folder: VersionFolder
    command: str
    """A command that trains the same model."""
    classes: Classes
    search: Search
    evaluation: Evaluation
    """The metrics on the test texts."""
    uncalibrated: Evaluation | None
    """The metrics on the test texts before calibration; None for a preset without calibration."""
    quality: Quality | None
    """The findings about the user's own files; None for Keras's data sets."""
    costs: Sequence[Cost]
    """The costs of the parts of the run, in order."""
    decision: Decision | None = None
    """Whether the version goes into service, if a gate decided."""

    def test_metrics(self) -> list[tuple[str, str]]:
        """Returns the names and values of the metrics on the test texts, after and before calibration."""
        metrics = [("accuracy", f"{self.evaluation.accuracy:.4f}"), ("macro-F1", f"{self.evaluation.macro_f1:.4f}")]
        for kind, some in (("", self.evaluation), (" before calibration", self.uncalibrated)):
            if some:
                metrics += [
                    (f"log loss{kind}", f"{some.log_loss:.4f}"),
                    (f"expected calibration error{kind}", f"{some.expected_calibration_error:.4f}"),
                ]
        return metrics

    def cost_table(self) -> list[tuple[str, str, str]]:
        """Returns, for each part, its name, its seconds and the peak memory so far in MB."""
        return [(cost.part, f"{cost.seconds:.1f}", f"{cost.peak_memory / 1e6:,.0f}") for cost in self.costs]
