"""The `unicode` tokenization in TensorFlow ops: the same as `textmodel.unicode_text` for every Unicode string.

The graph contains the required Unicode data as constants, so that it gives the same result in every process.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from textmodel import characters
from textmodel.characters import ALONE, CLASS, CONTEXT, EXTEND, SPACE, STAND_IN, UNASSIGNED, WORD
from textmodel.composition import MAX_PARTS, composition

# The Unicode Standard, section 3.12: how Hangul syllables are composed.
_SYLLABLES, _LEADS, _VOWELS, _TRAILS = 0xAC00, 0x1100, 0x1161, 0x11A7
_LEAD_COUNT, _VOWEL_COUNT, _TRAIL_COUNT = 19, 21, 28
_SYLLABLE_COUNT = _LEAD_COUNT * _VOWEL_COUNT * _TRAIL_COUNT

_CODE_BITS = 21


class GraphStream(NamedTuple):
    """The normalized characters of texts: see `textmodel.unicode_text.Stream`."""

    row: tf.Tensor
    """int64 (total,): the text of each character, in ascending order."""
    code: tf.Tensor
    """int64 (total,): its code point."""
    kind: tf.Tensor
    """int64 (total,): its class."""


class WordEdges(NamedTuple):
    """The positions of words in a stream."""

    begin: tf.Tensor
    """int64 (words,)"""
    end: tf.Tensor
    """int64 (words,)"""


def read(text: tf.Tensor) -> GraphStream:
    """Reads texts, string (batch,), UTF-8."""
    decoded = tf.strings.unicode_decode(tf.strings.join([" ", text, " "]), "UTF-8")
    row, code = decoded.value_rowids(), tf.cast(decoded.values, tf.int64)
    flags = _flags(code)
    code = tf.where(flags & CLASS == UNASSIGNED, tf.constant(STAND_IN, tf.int64), code)
    in_context = tf.reduce_any(flags & _CONTEXT_FLAG != 0)
    row, code = tf.cond(in_context, lambda: _normalize(row, code), lambda: (row, code))
    kind = _flags(code) & CLASS
    code = tf.where(kind == SPACE, tf.constant(ord(" "), tf.int64), code + _offset(code))
    code = tf.where(kind == UNASSIGNED, tf.constant(STAND_IN, tf.int64), code)
    kind = tf.where(kind == UNASSIGNED, tf.constant(WORD, tf.int64), kind)
    same_row = row == _before(row, -1)
    stays = ~(same_row & (kind == SPACE) & (_before(kind, SPACE) == SPACE))
    return GraphStream(tf.boolean_mask(row, stays), tf.boolean_mask(code, stays), tf.boolean_mask(kind, stays))


def words(stream: GraphStream) -> WordEdges:
    """Finds the words of a stream."""
    kind, before = stream.kind, _before(stream.kind, SPACE)
    in_word = kind >= WORD
    begins = in_word & ((before < WORD) | (kind == ALONE) | ((before == ALONE) & (kind != EXTEND)))
    after = tf.concat([begins[1:] | ~in_word[1:], tf.ones([tf.minimum(tf.size(kind), 1)], tf.bool)], 0)
    return WordEdges(tf.where(begins)[:, 0], tf.where(in_word & after)[:, 0] + 1)


def tokenize(text: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Splits texts, UTF-8 string (batch,), into words. Returns the text of each word, int64 (total,), and the words,
    string (total,).
    """
    stream = read(text)
    edges = words(stream)
    starts = tf.scatter_nd(edges.begin[:, tf.newaxis], tf.ones_like(edges.begin), tf.shape(stream.code, tf.int64))
    in_word = stream.kind >= WORD
    codes = tf.RaggedTensor.from_value_rowids(
        tf.cast(tf.boolean_mask(stream.code, in_word), tf.int32),
        tf.boolean_mask(tf.cumsum(starts) - 1, in_word),
        nrows=tf.size(edges.begin, tf.int64),
        validate=False,
    )
    return tf.gather(stream.row, edges.begin), tf.strings.unicode_encode(codes, "UTF-8")


_CONTEXT_FLAG = CONTEXT >> characters.CLASS_SHIFT


def _before(values: tf.Tensor, first: int) -> tf.Tensor:
    """Returns the value before each value; `first` before the first one."""
    return tf.concat([tf.fill([tf.minimum(tf.size(values), 1)], tf.cast(first, values.dtype)), values[:-1]], 0)


def _flags(code: tf.Tensor) -> tf.Tensor:
    runs = characters.runs()
    return tf.cast(tf.gather(runs["flags"], _run(code)), tf.int64)


def _offset(code: tf.Tensor) -> tf.Tensor:
    runs = characters.runs()
    return tf.cast(tf.gather(runs["offset"], _run(code)), tf.int64)


def _run(code: tf.Tensor) -> tf.Tensor:
    return tf.searchsorted(characters.runs()["first"], tf.cast(code, tf.int32), side="right") - 1


# ---- Normalization to NFC: https://www.unicode.org/reports/tr15/ ----


def _normalize(row: tf.Tensor, code: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Normalizes the characters of texts to NFC. Each text begins with a space, which composes with nothing."""
    row, code = _decompose(row, code)
    marks, classes = composition().marks.astype(np.int64).T
    combining = tf.where(_among(marks, code), tf.gather(classes, _place(marks, code)), tf.zeros_like(code))
    segment = tf.cumsum(tf.cast(combining == 0, tf.int64))
    order = tf.argsort(segment * 256 + combining, stable=True)  # classes are below 256
    row, code, combining = (tf.gather(values, order) for values in (row, code, combining))
    settled = tf.zeros_like(combining, tf.bool)
    some, flat = tf.constant(True), tf.TensorShape([None])
    row, code, *_ = tf.while_loop(
        lambda row, code, combining, settled, some: some,
        lambda row, code, combining, settled, some: _compose(row, code, combining, settled),
        (row, code, combining, settled, some),
        shape_invariants=(flat, flat, flat, flat, some.shape),
    )
    return row, code


def _decompose(row: tf.Tensor, code: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    decomposed, lengths, *_ = table = composition().decompositions.astype(np.int64).T
    syllable = code - _SYLLABLES
    is_syllable = (syllable >= 0) & (syllable < _SYLLABLE_COUNT)
    decomposes, place = _among(decomposed, code), _place(decomposed, code)
    trail = syllable % _TRAIL_COUNT
    syllable_length = 2 + tf.cast(trail != 0, tf.int64)
    length = tf.where(decomposes, tf.gather(lengths, place), tf.ones_like(code))
    length = tf.where(is_syllable, syllable_length, length)
    source = tf.repeat(tf.range(tf.size(code)), length)
    part = tf.range(tf.size(source, tf.int64)) - tf.gather(tf.cumsum(length, exclusive=True), source)
    parts = table[2:].T.ravel()
    of_table = tf.gather(parts, tf.gather(tf.cast(place, tf.int64), source) * MAX_PARTS + part % MAX_PARTS)
    jamo = tf.stack(
        [
            _LEADS + syllable // (_VOWEL_COUNT * _TRAIL_COUNT),
            _VOWELS + syllable % (_VOWEL_COUNT * _TRAIL_COUNT) // _TRAIL_COUNT,
            _TRAILS + trail,
        ],
        axis=1,
    )
    of_syllable = tf.gather(tf.reshape(jamo, [-1]), tf.cast(source, tf.int64) * 3 + part % 3)
    decomposed = tf.where(tf.gather(decomposes, source), of_table, tf.gather(code, source))
    return tf.gather(row, source), tf.where(tf.gather(is_syllable, source), of_syllable, decomposed)


def _compose(
    row: tf.Tensor, code: tf.Tensor, combining: tf.Tensor, settled: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """Composes each starter with the first following character that it composes with.

    `settled` marks the characters that a composition has passed over. They are not tried with its result.
    """
    index = tf.range(tf.size(code, tf.int64))
    is_starter = combining == 0
    starters = tf.where(is_starter)[:, 0]
    segment = tf.cumsum(tf.cast(is_starter, tf.int64)) - 1
    starter = tf.gather(starters, tf.maximum(segment - tf.cast(is_starter, tf.int64), 0))  # the preceding starter
    first = tf.gather(code, starter)
    composite = _composites(first, code)
    is_next = index - 1 == starter
    reaches = is_next | (~is_starter & (_before(combining, 0) < combining))
    composes = reaches & (composite >= 0) & ~settled
    composes &= ~tf.gather(composes, starter)  # not if that starter itself composes with the one before it
    none = tf.size(code, tf.int64)
    earliest = tf.math.unsorted_segment_min(tf.where(composes, index, none), starter, none)
    chosen = composes & (tf.gather(earliest, starter) == index)
    reached = tf.gather(earliest, starter)
    settled |= (reached < none) & (index < reached)
    code = tf.tensor_scatter_nd_update(
        code, tf.boolean_mask(starter, chosen)[:, tf.newaxis], tf.boolean_mask(composite, chosen)
    )
    row, code, combining, settled = (tf.boolean_mask(values, ~chosen) for values in (row, code, combining, settled))
    return row, code, combining, settled, tf.reduce_any(chosen)


def _composites(first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
    """Returns the composite of two characters, -1 if there is none."""
    firsts, seconds, composites = composition().pairs.astype(np.int64).T
    pairs = firsts << _CODE_BITS | seconds
    pair = tf.bitwise.left_shift(first, tf.constant(_CODE_BITS, tf.int64)) | second
    nothing = -tf.ones_like(first)
    composite = tf.where(_among(pairs, pair), tf.gather(composites, _place(pairs, pair)), nothing)
    lead, vowel = first - _LEADS, second - _VOWELS
    is_pair = (lead >= 0) & (lead < _LEAD_COUNT) & (vowel >= 0) & (vowel < _VOWEL_COUNT)
    composite = tf.where(is_pair, _SYLLABLES + (lead * _VOWEL_COUNT + vowel) * _TRAIL_COUNT, composite)
    syllable, trail = first - _SYLLABLES, second - _TRAILS
    is_open = (syllable >= 0) & (syllable < _SYLLABLE_COUNT) & (syllable % _TRAIL_COUNT == 0)
    return tf.where(is_open & (trail > 0) & (trail < _TRAIL_COUNT), first + trail, composite)


def _place(keys: NDArray[np.int64], values: tf.Tensor) -> tf.Tensor:
    return tf.minimum(tf.searchsorted(keys, values), len(keys) - 1)


def _among(keys: NDArray[np.int64], values: tf.Tensor) -> tf.Tensor:
    return tf.gather(keys, _place(keys, values)) == values
