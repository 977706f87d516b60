"""Runs at another site: the laptop asks, the site's own `needle` answers, and the run's truth lies at the site.

`service` is the way there and the only module that knows Globus Compute; `asking` is the laptop's side, `answering` the site's.
Only plain source and JSON travel.
"""
