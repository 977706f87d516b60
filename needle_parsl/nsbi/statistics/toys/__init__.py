"""Toys: pools of events to throw from, fits of what was thrown, and blocks of such fits."""
