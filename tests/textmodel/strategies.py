"""Texts that are hard to tokenize."""

from hypothesis import strategies as st

from textmodel.tokenization import FILTERS

WORDS = ("the", "don't", "café", "σας", "οδος", "i̇stanbul", "straße", "ıi", "k", "ǆ", "a\u00a0b")
_SPECIAL = (
    *FILTERS,
    *" \0\r\v\f\u00a0\u2028\u3000\u200b\u00ad",  # spaces, and what looks like one or like nothing
    *"ΣσςİIıiÌÍĨĮŠẞßǅ\u212a\u2126",  # their lower case depends on neighbours or locale, or is another script's
    *"\u0301\u0307\u0328\u0345\u1734\u180e\u0378\uffff\ufeff",  # marks, unassigned, and no characters
    *"😀𝐀𐐀𞤀\U0001d7cb\U0010ffff",
)
_ANY = st.characters(exclude_categories=["Cs"])  # surrogates are no Unicode text

TEXTS = st.lists(
    st.one_of(
        st.sampled_from(_SPECIAL),
        st.sampled_from(WORDS),
        st.sampled_from(WORDS).map(str.upper),
        _ANY,
        st.text(_ANY, max_size=20),
    ),
    max_size=20,
).map("".join)

_EQUIVALENT = (
    *("é", "e\u0301", "ạ\u0301", "a\u0301\u0323", "\u212b", "\u1e9b\u0323", "\u1f82", "α\u0313\u0300\u0345"),
    *("\u0344", "\u0f73", "\u0f71\u0f72", "\u0315\u0300\u05ae\u0062"),  # marks that decompose, or change places
    *("각", "가\u11a8", "\u1100\u1161\u11a8", "\u1100", "\u1161", "\u11a8", "ㅠ"),
    *("\u0dd9\u0dcf\u0dca", "\u0cc6\u0cc2\u0cd5", "\u0bc6\u0bbe"),  # more than two that compose
    *("\U0001e130", "\U0001e08f", "\U00016d6a"),  # a mark, one of Unicode 15, and one of Unicode 16
    *("😀", "👩\u200d👧", "👍🏽", "❤\ufe0f", "«", "。", "’", "क्\u200dष", "\u00ad"),
)
UNICODE_TEXTS = st.one_of(
    TEXTS, st.lists(st.one_of(st.sampled_from(_EQUIVALENT), st.sampled_from("aΣ ,"), _ANY), max_size=30).map("".join)
)
"""Texts that are hard to normalize, too."""
