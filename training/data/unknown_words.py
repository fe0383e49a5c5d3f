"""What the share of unknown words in new texts means."""

HIGH_RATIO = 0.2
"""A share from which on a warning says what it means."""

MEANING = (
    "unknown words: many words of new texts do not occur in the training texts, and the model decides by the others."
    " More training texts help. In inflected languages and languages without spaces, --features characters helps too"
)
