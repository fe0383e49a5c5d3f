"""Programs of other people's clients, unchanged. Each runs in a process of its own, since all of them bring stubs of
one protocol, and prints what it heard as one JSON object.
"""
