from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ClassifyRequest(_message.Message):
    __slots__ = ("model", "version", "texts", "top_k", "explain", "min_probability", "use_thresholds")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    TEXTS_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    EXPLAIN_FIELD_NUMBER: _ClassVar[int]
    MIN_PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    USE_THRESHOLDS_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: int
    texts: _containers.RepeatedScalarFieldContainer[str]
    top_k: int
    explain: bool
    min_probability: float
    use_thresholds: bool
    def __init__(self, model: _Optional[str] = ..., version: _Optional[int] = ..., texts: _Optional[_Iterable[str]] = ..., top_k: _Optional[int] = ..., explain: _Optional[bool] = ..., min_probability: _Optional[float] = ..., use_thresholds: _Optional[bool] = ...) -> None: ...

class ClassifyResponse(_message.Message):
    __slots__ = ("model", "version", "classifications")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CLASSIFICATIONS_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: int
    classifications: _containers.RepeatedCompositeFieldContainer[Classification]
    def __init__(self, model: _Optional[str] = ..., version: _Optional[int] = ..., classifications: _Optional[_Iterable[_Union[Classification, _Mapping]]] = ...) -> None: ...

class Classification(_message.Message):
    __slots__ = ("label", "probability", "scores", "words", "known_words", "explanation", "abstained")
    LABEL_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    WORDS_FIELD_NUMBER: _ClassVar[int]
    KNOWN_WORDS_FIELD_NUMBER: _ClassVar[int]
    EXPLANATION_FIELD_NUMBER: _ClassVar[int]
    ABSTAINED_FIELD_NUMBER: _ClassVar[int]
    label: str
    probability: float
    scores: _containers.RepeatedCompositeFieldContainer[LabelScore]
    words: int
    known_words: int
    explanation: Explanation
    abstained: bool
    def __init__(self, label: _Optional[str] = ..., probability: _Optional[float] = ..., scores: _Optional[_Iterable[_Union[LabelScore, _Mapping]]] = ..., words: _Optional[int] = ..., known_words: _Optional[int] = ..., explanation: _Optional[_Union[Explanation, _Mapping]] = ..., abstained: _Optional[bool] = ...) -> None: ...

class Explanation(_message.Message):
    __slots__ = ("bias", "words")
    BIAS_FIELD_NUMBER: _ClassVar[int]
    WORDS_FIELD_NUMBER: _ClassVar[int]
    bias: float
    words: _containers.RepeatedCompositeFieldContainer[WordContribution]
    def __init__(self, bias: _Optional[float] = ..., words: _Optional[_Iterable[_Union[WordContribution, _Mapping]]] = ...) -> None: ...

class WordContribution(_message.Message):
    __slots__ = ("word", "start", "end", "known", "contribution")
    WORD_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    KNOWN_FIELD_NUMBER: _ClassVar[int]
    CONTRIBUTION_FIELD_NUMBER: _ClassVar[int]
    word: str
    start: int
    end: int
    known: bool
    contribution: float
    def __init__(self, word: _Optional[str] = ..., start: _Optional[int] = ..., end: _Optional[int] = ..., known: _Optional[bool] = ..., contribution: _Optional[float] = ...) -> None: ...

class LabelScore(_message.Message):
    __slots__ = ("label", "probability")
    LABEL_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    label: str
    probability: float
    def __init__(self, label: _Optional[str] = ..., probability: _Optional[float] = ...) -> None: ...

class ListModelsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListModelsResponse(_message.Message):
    __slots__ = ("models", "server")
    MODELS_FIELD_NUMBER: _ClassVar[int]
    SERVER_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[Model]
    server: Server
    def __init__(self, models: _Optional[_Iterable[_Union[Model, _Mapping]]] = ..., server: _Optional[_Union[Server, _Mapping]] = ...) -> None: ...

class Server(_message.Message):
    __slots__ = ("version", "transport")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    TRANSPORT_FIELD_NUMBER: _ClassVar[int]
    version: str
    transport: str
    def __init__(self, version: _Optional[str] = ..., transport: _Optional[str] = ...) -> None: ...

class GetModelRequest(_message.Message):
    __slots__ = ("name", "version")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: int
    def __init__(self, name: _Optional[str] = ..., version: _Optional[int] = ...) -> None: ...

class Model(_message.Message):
    __slots__ = ("name", "version", "state", "labels", "vocabulary_size", "trained_on", "test_accuracy", "state_reason", "engine", "in_service", "shadow", "thresholds", "target_precision")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[Model.State]
        STATE_LOADING: _ClassVar[Model.State]
        STATE_AVAILABLE: _ClassVar[Model.State]
        STATE_FAILED: _ClassVar[Model.State]
        STATE_UNLOADING: _ClassVar[Model.State]
    STATE_UNSPECIFIED: Model.State
    STATE_LOADING: Model.State
    STATE_AVAILABLE: Model.State
    STATE_FAILED: Model.State
    STATE_UNLOADING: Model.State
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    VOCABULARY_SIZE_FIELD_NUMBER: _ClassVar[int]
    TRAINED_ON_FIELD_NUMBER: _ClassVar[int]
    TEST_ACCURACY_FIELD_NUMBER: _ClassVar[int]
    STATE_REASON_FIELD_NUMBER: _ClassVar[int]
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    IN_SERVICE_FIELD_NUMBER: _ClassVar[int]
    SHADOW_FIELD_NUMBER: _ClassVar[int]
    THRESHOLDS_FIELD_NUMBER: _ClassVar[int]
    TARGET_PRECISION_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: int
    state: Model.State
    labels: _containers.RepeatedScalarFieldContainer[str]
    vocabulary_size: int
    trained_on: str
    test_accuracy: float
    state_reason: str
    engine: str
    in_service: bool
    shadow: Shadow
    thresholds: _containers.RepeatedScalarFieldContainer[float]
    target_precision: float
    def __init__(self, name: _Optional[str] = ..., version: _Optional[int] = ..., state: _Optional[_Union[Model.State, str]] = ..., labels: _Optional[_Iterable[str]] = ..., vocabulary_size: _Optional[int] = ..., trained_on: _Optional[str] = ..., test_accuracy: _Optional[float] = ..., state_reason: _Optional[str] = ..., engine: _Optional[str] = ..., in_service: _Optional[bool] = ..., shadow: _Optional[_Union[Shadow, _Mapping]] = ..., thresholds: _Optional[_Iterable[float]] = ..., target_precision: _Optional[float] = ...) -> None: ...

class Shadow(_message.Message):
    __slots__ = ("texts", "agreements")
    TEXTS_FIELD_NUMBER: _ClassVar[int]
    AGREEMENTS_FIELD_NUMBER: _ClassVar[int]
    texts: int
    agreements: int
    def __init__(self, texts: _Optional[int] = ..., agreements: _Optional[int] = ...) -> None: ...
