"""The classifiers that a run fits, with their vectorizers, feature weights and calibration."""
