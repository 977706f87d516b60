"""Fits of many toys by compiled code: one toy at a time, in cache, with exact derivatives. Needs numba, the extra `toys`."""
