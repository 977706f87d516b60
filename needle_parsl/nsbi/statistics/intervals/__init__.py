"""Confidence intervals and tests: profile scans, limits, the Neyman construction, coverage."""
