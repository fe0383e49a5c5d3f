"""The settings of a training run. The command's options, their defaults and the report all derive from them."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

Preset = Literal["dense", "ngram"]
Optimizer = Literal["adagrad", "adam", "adamw", "nadam", "rmsprop", "sgd"]
Loss = Literal["crossentropy", "mse"]
VectorizerName = Literal["multi-hot", "embedding"]
ClassWeights = Literal["none", "balanced"]
Features = Literal["auto", "words", "characters", "both"]
CharSpans = Literal["within-words", "across-words"]
TermFrequency = Literal["binary", "log"]
PromotionMetric = Literal["accuracy", "macro-f1"]
Value = str | int | float | list[int]

OWN_DATA = "own data"
"""Stands for the user's own files, in place of the name of a data set. They are split by `validation_split`."""

EMBEDDING_ONLY = ("sequence_length", "embedding_dim")
"""The settings that have no effect without `--vectorizer embedding`."""

DENSE_ONLY = (
    *("layers", "optimizer", "learning_rate", "loss", "vectorizer", "epochs", "patience", "batch_size"),
    *EMBEDDING_ONLY,
)
"""The settings that have no effect without `--preset dense`."""

OWN_DATA_ONLY = ("features", "char_ngrams", "char_spans")
"""The settings of the `ngram` preset that have no effect on Keras's data sets, which contain word indices."""

NGRAM_ONLY = (
    *("max_ngram", "buckets", "term_frequency", "min_df", "idf_power", "divergence_power", "cost"),
    *OWN_DATA_ONLY,
)
"""The settings that have no effect without `--preset ngram`."""


@dataclass(frozen=True)
class Settings:
    """How a model is trained. Each field except `data_set` is an option of the command, whose help describes it. None
    lets the training choose.
    """

    data_set: str
    layers: tuple[int, ...]
    validation_samples: int
    preset: Preset = "dense"
    epochs: int = 20
    patience: int = 20
    batch_size: int | None = 512
    optimizer: Optimizer = "rmsprop"
    learning_rate: float = 0.001
    loss: Loss = "crossentropy"
    num_words: int = 10_000
    vectorizer: VectorizerName = "multi-hot"
    sequence_length: int = 256
    embedding_dim: int = 64
    class_weights: ClassWeights = "none"
    validation_split: float = 0.2
    features: Features = "words"
    max_ngram: int | None = 3
    char_ngrams: tuple[int, int] | None = None
    char_spans: CharSpans | None = None
    buckets: int = 2**22
    term_frequency: TermFrequency = "binary"
    min_df: int | None = 3
    idf_power: float = 1.0
    divergence_power: float = 0.35
    cost: float | None = None
    target_precision: float | None = None
    seed: int = 0

    @property
    def required_cost(self) -> float:
        """The cost, which must have been chosen."""
        assert self.cost is not None
        return self.cost

    @property
    def required_min_df(self) -> int:
        """The minimum document frequency; while it is not chosen, the one to begin with."""
        return 2 if self.min_df is None else self.min_df

    def options(self) -> dict[str, Value]:
        """Returns the settings that have an effect, with the names and the types of the command's options."""
        without_effect = {"data_set"}
        own_data = self.data_set == OWN_DATA
        without_effect.add("validation_samples" if own_data else "validation_split")
        without_effect.update(NGRAM_ONLY if self.preset == "dense" else DENSE_ONLY)
        if not own_data:
            without_effect.update(OWN_DATA_ONLY)
        elif self.preset == "ngram":
            without_effect.add("num_words")
        if self.features == "words":
            without_effect.update(("char_ngrams", "char_spans"))
        if self.features == "characters":
            without_effect.add("max_ngram")
        if self.target_precision is None:
            without_effect.add("target_precision")
        if self.vectorizer != "embedding":
            without_effect.update(EMBEDDING_ONLY)
        names = [field.name for field in fields(self) if field.name not in without_effect]
        values = {name.replace("_", "-"): getattr(self, name) for name in names}
        return {name: _value(value) for name, value in values.items()}

    def command(self) -> list[str]:
        """Returns the command-line arguments that give these settings, without those that are defaults. The name of the
        data set comes first, unless it is own data.
        """
        defaults = PRESETS[self.data_set][self.preset].options() | {"preset": DEFAULT_PRESETS[self.data_set]}
        changed = {name: value for name, value in self.options().items() if value != defaults.get(name)}
        words = [word for name, value in changed.items() for word in (f"--{name}", shown(value))]
        return words if self.data_set == OWN_DATA else [self.data_set, *words]


def _presets(dense: Settings, **ngram: Any) -> dict[Preset, Settings]:
    return {"dense": dense, "ngram": replace(dense, preset="ngram", **ngram)}


_TOPICS: Mapping[str, Any] = {
    "max_ngram": 1,
    "term_frequency": "log",
    "min_df": 2,
    "idf_power": 0.0,
    "divergence_power": 0.75,
    "cost": 0.5,
}
"""`ngram` for topics: single words tell topics apart. The cost lies between those that a search tries."""

_TEXTS: Mapping[str, Any] = {"features": "auto", "max_ngram": None, "term_frequency": "log", "min_df": None}
"""`ngram` for own data: held-out texts choose the features. The other settings are good on all data sets of
docs/models.md."""

PRESETS = {
    "imdb": _presets(Settings("imdb", layers=(16, 16), validation_samples=10_000), num_words=50_000),
    "reuters": _presets(Settings("reuters", layers=(64, 64), validation_samples=1_000), num_words=20_000, **_TOPICS),
    OWN_DATA: _presets(
        Settings(OWN_DATA, layers=(64, 64), validation_samples=0, epochs=100, patience=10, batch_size=None), **_TEXTS
    ),
}
"""The defaults for each data set and preset."""

DEFAULT_PRESETS: Mapping[str, Preset] = {"imdb": "dense", "reuters": "dense", OWN_DATA: "ngram"}
"""The preset of a command without `--preset`."""


def shown(value: object) -> str:
    """Returns a value as it is written on the command line."""
    if value is None:
        return "auto"
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _value(value: Any) -> Value:
    if value is None:
        return "auto"
    return list(value) if isinstance(value, tuple) else value
