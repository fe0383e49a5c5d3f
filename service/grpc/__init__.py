"""gRPC: servicers, their instrumentation, and the server that runs them."""
