"""What the share of unknown words in new texts means."""

HIGH_RATIO = 0.2
"""A share from which on a warning says what it means."""

MEANING = (
    "a high share of unknown words means that many words of new texts do not occur in the training texts: the model has"
    " to guess from the rest. More training texts help; so do character n-grams in languages with endings or without"
    " spaces"
)
