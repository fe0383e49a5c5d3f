"""Inference for all protocols: model versions, batching, classification and explanation."""
