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
