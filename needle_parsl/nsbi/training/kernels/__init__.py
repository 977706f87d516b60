"""Training of multilayer perceptrons in cache, compiled by numba; the rest of the package works without."""
