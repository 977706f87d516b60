"""What the machine offers: one TOML file per site, found by name."""

from needle_parsl.site.lookup import described, endpoint, folders, known, load, origin
from needle_parsl.site.tables import NEEDS, Environment, NodeShape, Remote, Serving, Site

__all__ = [
    "NEEDS",
    "Environment",
    "NodeShape",
    "Remote",
    "Serving",
    "Site",
    "described",
    "endpoint",
    "folders",
    "known",
    "load",
    "origin",
]
