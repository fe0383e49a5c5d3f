"""What all protocols share: model versions, batching, classification and explanation."""
