"""Benchmarks on real texts, with peers in the same run. They are not tests: nothing asserts a time."""
