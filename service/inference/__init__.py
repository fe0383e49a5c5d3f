"""One request, whatever protocol it arrives by: model versions, batching, classification and explanation."""
