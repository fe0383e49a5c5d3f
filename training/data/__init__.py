"""From files to labelled texts: readers, splits and the vocabulary."""
