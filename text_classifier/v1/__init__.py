"""Generated from `proto/text_classifier/v1/text_classifier.proto` with `make proto`."""
