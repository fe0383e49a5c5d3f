"""The gRPC server: repository -> batching -> servicer -> server.

It serves the version folders that `textmodel` reads. Nothing of training enters here.
"""
