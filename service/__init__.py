"""The server: text classification over gRPC and HTTP.

It serves the version folders that `textmodel` reads, and imports nothing from `training`.
"""
