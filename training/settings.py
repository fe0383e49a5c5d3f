"""The settings that shape a model, declared once: the command's options, their defaults, and what the report says."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

Preset = Literal["dense", "ngram"]
DEFAULT_PRESET: Preset = "dense"
Optimizer = Literal["adagrad", "adam", "adamw", "nadam", "rmsprop", "sgd"]
Loss = Literal["crossentropy", "mse"]
VectorizerName = Literal["multi-hot", "embedding"]
ClassWeights = Literal["none", "balanced"]
Counts = Literal["binary", "log"]
PromotionMetric = Literal["accuracy", "macro-f1"]
Value = str | int | float | list[int]

OWN_DATA = "own data"
"""The user's own files, in place of the name of a data set. They are split by `validation_split`."""

EMBEDDING_ONLY = ("sequence_length", "dimensions")
"""The settings that have no effect without `--vectorizer embedding`."""

DENSE_ONLY = ("layers", "optimizer", "loss", "vectorizer", *EMBEDDING_ONLY)
"""The settings that have no effect without `--preset dense`."""

NGRAM_ONLY = ("orders", "buckets", "counts", "min_count", "idf_power", "divergence_power")
"""The settings that have no effect without `--preset ngram`."""


@dataclass(frozen=True)
class Settings:
    """How one model is trained. Each field but the first is an option of the command, which describes it."""

    data_set: str
    layers: tuple[int, ...]
    validation_samples: int
    preset: Preset = DEFAULT_PRESET
    epochs: int = 20
    batch_size: int = 512
    optimizer: Optimizer = "rmsprop"
    learning_rate: float = 0.001
    loss: Loss = "crossentropy"
    num_words: int = 10_000
    vectorizer: VectorizerName = "multi-hot"
    sequence_length: int = 256
    dimensions: int = 64
    class_weights: ClassWeights = "none"
    validation_split: float = 0.2
    orders: int = 3
    buckets: int = 2**22
    counts: Counts = "binary"
    min_count: int = 3
    idf_power: float = 1.0
    divergence_power: float = 0.35
    seed: int = 0

    def options(self) -> dict[str, Value]:
        """Returns the settings that have an effect, named and typed as the command's options."""
        without_effect = {"data_set", "validation_samples" if self.data_set == OWN_DATA else "validation_split"}
        without_effect.update(NGRAM_ONLY if self.preset == "dense" else DENSE_ONLY)
        if self.vectorizer != "embedding":
            without_effect.update(EMBEDDING_ONLY)
        names = [field.name for field in fields(self) if field.name not in without_effect]
        values = {name.replace("_", "-"): getattr(self, name) for name in names}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    def command(self) -> list[str]:
        """Returns the arguments that give these settings, those that are defaults left out: options, behind the name of
        the data set if it has one.
        """
        defaults = PRESETS[self.data_set][self.preset].options() | {"preset": DEFAULT_PRESET}
        changed = {name: value for name, value in self.options().items() if value != defaults.get(name)}
        words = [word for name, value in changed.items() for word in (f"--{name}", shown(value))]
        return words if self.data_set == OWN_DATA else [self.data_set, *words]


def _presets(dense: Settings, **ngram: Any) -> dict[Preset, Settings]:
    """Returns the settings of each preset: `ngram` fits a hinge loss, by steps that suit vectors of length 1."""
    fitted = replace(dense, preset="ngram", batch_size=128, learning_rate=0.3)
    return {"dense": dense, "ngram": replace(fitted, **ngram)}


_TOPICS: Mapping[str, Any] = {"orders": 1, "counts": "log", "min_count": 2, "idf_power": 0.0, "divergence_power": 0.75}
"""Of `ngram`: topics show in single words. Without n-grams the size does not grow by `buckets` for each class."""

PRESETS = {
    "imdb": _presets(Settings("imdb", layers=(16, 16), validation_samples=10_000), num_words=50_000),
    "reuters": _presets(Settings("reuters", layers=(64, 64), validation_samples=1_000), num_words=20_000, **_TOPICS),
    OWN_DATA: _presets(Settings(OWN_DATA, layers=(64, 64), validation_samples=0), num_words=50_000, **_TOPICS),
}
"""The defaults for each data set and preset."""


def shown(value: object) -> str:
    """Returns a value as the command line takes it."""
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
