"""Inference: from density ratios to parameters and intervals."""
