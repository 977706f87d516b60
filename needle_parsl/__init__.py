"""needle: neural simulation-based inference at scale, from simulated events to confidence intervals."""

__version__ = "0.1.0"
