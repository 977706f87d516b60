"""Failures: why, what they cost, and what becomes of a pack that has one."""
