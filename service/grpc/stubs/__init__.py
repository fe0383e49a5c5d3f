"""Generated from `proto/inference/open_inference.proto` with `make proto`."""
