"""Fits: the minimum, intervals, scans, impacts, limits, and how well a model describes the data."""
