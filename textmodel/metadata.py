"""The metadata of a model version, `assets.extra/metadata.json`, typed and validated."""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from textmodel.errors import ModelError

Tokenization = Literal["keras", "unicode"]
"""`keras` is `textmodel.tokenization`, for Keras's data sets. `unicode` is `textmodel.unicode_text`, for other text."""

TiedFile = Literal["assets/labels.txt", "assets/vocabulary.txt", "saved_model.pb", "variables/variables.index"]
"""A file that changes a version's answers, and that neither the golden probes nor `weights.safetensors` check entirely.
The index contains a checksum of each variable, which TensorFlow checks. `weights.safetensors` contains the digests of
the index and of the variables.
"""

Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
Count = Annotated[int, Meta(ge=0)]
Share = Annotated[float, Meta(ge=0, le=1)]


class MultiHot(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="multi-hot"):
    """A text is a vector (num_words,) of zeros, with a one at the index of each word that the text contains."""

    num_words: Annotated[int, Meta(ge=4)]


class PaddedSequence(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="embedding"):
    """A text is the row (length,) of its first indices, padded at the end, for an Embedding layer.

    The input of the dense layers, (dimensions,), is the maximum of each component over the row, including the padding.
    """

    num_words: Annotated[int, Meta(ge=4)]
    length: Annotated[int, Meta(ge=1)]
    dimensions: Annotated[int, Meta(ge=1)]


class NGrams(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="ngrams"):
    """A text is a sparse vector (features,) of its words and hashed n-grams: see `textmodel.ngrams`.

    A component is the feature's trained scale, times 1 ("binary") or 1 + ln(count) ("log"). With `normalize`, the
    vector is then divided by its L2 norm, unless that is 0.
    """

    num_words: Annotated[int, Meta(ge=4, le=1 << 30)]
    orders: Annotated[int, Meta(ge=1, le=3)]
    """Length of the longest n-gram, in words."""
    buckets: Annotated[int, Meta(ge=0, le=1 << 30)]
    """A power of two, or 0 for words alone."""
    counts: Literal["binary", "log"]
    normalize: bool

    def __post_init__(self) -> None:
        if self.orders == 1 and self.buckets:
            raise ValueError("`buckets` is 0 when `orders` is 1: words alone are not hashed")
        if self.orders > 1 and self.buckets.bit_count() != 1:
            raise ValueError("`buckets` is a power of two")

    @property
    def features(self) -> int:
        """The vector's length."""
        return self.num_words + self.buckets


class CharacterNGrams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """N-grams of `min` to `max` characters, within words or across them."""

    min: Annotated[int, Meta(ge=1, le=6)]
    max: Annotated[int, Meta(ge=1, le=6)]
    across_words: bool

    def __post_init__(self) -> None:
        if self.min > self.max:
            raise ValueError("`min` is not above `max`")


class HashedNGrams(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="hashed-ngrams"):
    """A text is a sparse vector (kept,) of its hashed n-grams of words and characters: see `textmodel.hashed_ngrams`.

    Each n-gram is in one of `buckets` buckets; `kept` of these have a component. A component is the feature's trained
    scale, times 1 ("binary") or 1 + ln(count) ("log"). With `normalize`, the vector is then divided by its L2 norm,
    unless that is 0. There is no vocabulary.
    """

    words: Annotated[int, Meta(ge=0, le=3)]
    """Length of the longest n-gram of words; 0 for none."""
    characters: CharacterNGrams | None
    buckets: Annotated[int, Meta(ge=1, le=1 << 22)]
    """A power of two."""
    kept: Annotated[int, Meta(ge=0, le=1 << 22)]
    counts: Literal["binary", "log"]
    normalize: bool

    def __post_init__(self) -> None:
        if not self.words and self.characters is None:
            raise ValueError("has n-grams of words, of characters, or both")
        if self.buckets.bit_count() != 1:
            raise ValueError("`buckets` is a power of two")
        if self.kept > self.buckets:
            raise ValueError("`kept` is not above `buckets`")

    @property
    def features(self) -> int:
        """The number of buckets."""
        return self.buckets

    @property
    def num_words(self) -> int:
        """The number of features, in place of the size of a vocabulary."""
        return self.kept


class Layer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A dense layer. The activation "one-vs-rest" is the sigmoids of the units, divided by their sum."""

    units: Annotated[int, Meta(ge=1)]
    activation: Literal["linear", "relu", "sigmoid", "softmax", "one-vs-rest"]


class DataSet(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The data that a model was trained and tested on.

    `unknown_word_ratio` is the share of the training texts' words that the model does not know; None for versions of
    older trainings. `validation_unknown_word_ratio` is that of the validation texts' words, for a model of the other
    training texts; None without own data too. `label_texts` is the number of training texts of each label, in the order
    of the labels; a text with only a soft label counts for its most probable label. `soft_texts` is the number of
    training texts that were learned by soft labels. `weight` is the sum of the weights of all training texts; None
    without such columns.
    """

    name: str
    training_texts: Count
    validation_texts: Count
    test_texts: Count
    unknown_word_ratio: Share | None = None
    validation_unknown_word_ratio: Share | None = None
    label_texts: tuple[Count, ...] = ()
    soft_texts: Count = 0
    weight: Annotated[float, Meta(gt=0)] | None = None


class TestMetrics(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The metrics on the test set, measured once, after training."""

    accuracy: Share
    log_loss: Annotated[float, Meta(ge=0)]
    expected_calibration_error: Share


class Abstention(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The probability from which each label is right with the target precision, as found on validation texts."""

    target_precision: Share
    thresholds: tuple[Annotated[float, Meta(ge=0)], ...]
    """The threshold of each label, in the order of the labels. Above 1, the label never reaches the precision."""


class Metadata(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The contents of `metadata.json`.

    `network` contains the dense layers, the output layer last. A binary network ends in one sigmoid unit, which the
    signature turns into two columns. `training` contains the settings of the run, with the names of the command's
    options; `packages`, the versions of the packages that it used. `sha256` contains the digests of the files that were
    written together with the metadata. Versions of older trainings, and versions made by hand, may lack them.
    """

    name: Annotated[str, Meta(min_length=1)]
    vectorizer: MultiHot | PaddedSequence | NGrams | HashedNGrams
    network: Annotated[tuple[Layer, ...], Meta(min_length=1)]
    data_set: DataSet
    training: dict[str, str | int | float | list[int] | None]
    test_metrics: TestMetrics
    created_at: Annotated[datetime, Meta(tz=True)]
    packages: dict[str, str]
    abstention: Abstention | None = None
    tokenization: Tokenization = "keras"
    sha256: dict[TiedFile, Sha256] = {}
    format: Literal[1] = 1

    def __post_init__(self) -> None:
        if isinstance(self.vectorizer, HashedNGrams) and self.tokenization != "unicode":
            raise ValueError("hashed n-grams take the tokenization `unicode`")

    @classmethod
    def read(cls, path: Path) -> "Metadata":
        """Reads `metadata.json`.

        Raises:
            ModelError: the file is missing, is not JSON, or a field is missing, unknown or of the wrong type.
        """
        try:
            return msgspec.json.decode(path.read_bytes(), type=cls)
        except OSError as error:
            raise ModelError(f"{path}: {error.strerror}") from error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ModelError(f"{path}: {error}") from error

    def write(self, path: Path) -> None:
        """Writes `metadata.json`, indented for people."""
        path.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n")
