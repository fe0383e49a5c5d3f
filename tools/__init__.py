"""Generators that the Makefile runs. They are not installed."""
