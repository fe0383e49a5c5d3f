"""Speed, measured on real texts, beside named peers in the same run. Nothing here is a test: nothing asserts a time."""
