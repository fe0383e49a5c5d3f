"""Turns files into labelled texts: readers, splits and the vocabulary."""
