"""The RPC adapter: servicers, their instrumentation, and the gRPC server that carries them."""
