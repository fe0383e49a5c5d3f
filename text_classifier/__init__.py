"""What a client program imports: the typed clients and the generated stubs.

Needs grpcio and protobuf only; TensorFlow, NumPy and the other rooms of this project never enter here.
"""
