"""The settings that shape a model, declared once: the command's options, their defaults, and what the report says."""

from dataclasses import dataclass, fields
from typing import Literal

Optimizer = Literal["adagrad", "adam", "adamw", "nadam", "rmsprop", "sgd"]
Loss = Literal["crossentropy", "mse"]
VectorizerName = Literal["multi-hot", "embedding"]
Value = str | int | float | list[int]

EMBEDDING_ONLY = ("sequence_length", "dimensions")
"""The settings that have no effect without `--vectorizer embedding`."""


@dataclass(frozen=True)
class Settings:
    """How one model is trained. Each field but the first is an option of the command, which describes it."""

    data_set: str
    layers: tuple[int, ...]
    validation_samples: int
    epochs: int = 20
    batch_size: int = 512
    optimizer: Optimizer = "rmsprop"
    learning_rate: float = 0.001
    loss: Loss = "crossentropy"
    num_words: int = 10_000
    vectorizer: VectorizerName = "multi-hot"
    sequence_length: int = 256
    dimensions: int = 64
    seed: int = 0

    def options(self) -> dict[str, Value]:
        """Returns the settings that have an effect, named and typed as the command's options."""
        names = [field.name for field in fields(self) if field.name != "data_set"]
        if self.vectorizer != "embedding":
            names = [name for name in names if name not in EMBEDDING_ONLY]
        values = {name.replace("_", "-"): getattr(self, name) for name in names}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    def command(self) -> list[str]:
        """Returns the arguments that give these settings, those that are defaults left out."""
        defaults = PRESETS[self.data_set].options()
        changed = {name: value for name, value in self.options().items() if value != defaults.get(name)}
        return [self.data_set, *(word for name, value in changed.items() for word in (f"--{name}", shown(value)))]


PRESETS = {
    "imdb": Settings("imdb", layers=(16, 16), validation_samples=10_000),
    "reuters": Settings("reuters", layers=(64, 64), validation_samples=1_000),
}
"""The defaults for each data set."""


def shown(value: object) -> str:
    """Returns a value as the command line takes it."""
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
