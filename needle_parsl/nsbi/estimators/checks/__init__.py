"""Checks of a ratio beyond closure and calibration: distances, a classifier, the training, the ensemble."""
