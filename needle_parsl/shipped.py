"""Where the apps and site files that come with needle are: in the wheel, or at the top of a checkout."""

from __future__ import annotations

from pathlib import Path


def folder(name: str) -> Path:
    """Find `apps` or `site_configs`."""
    package = Path(__file__).parent
    inside = package / name
    return inside if inside.is_dir() else package.parent / name
