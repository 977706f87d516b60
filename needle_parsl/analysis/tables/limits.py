"""`[limits]`: how long the user's code may take, and how much it may print."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields

DURATION = re.compile(r"\s*(\d+\.?\d*|\.\d+)\s*(s|min|h|d)\s*")
SIZE = re.compile(r"\s*(\d+\.?\d*|\.\d+)\s*(kB|MB|GB)\s*")
UNITS = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "kB": 1e3, "MB": 1e6, "GB": 1e9}


def seconds(text: str) -> float:
    """Read a duration; not a number if it is none."""
    found = DURATION.fullmatch(text)
    return float(found[1]) * UNITS[found[2]] if found else float("nan")


def size(text: str) -> float:
    """Read a number of bytes; not a number if it is none."""
    found = SIZE.fullmatch(text)
    return float(found[1]) * UNITS[found[2]] if found else float("nan")


@dataclass(frozen=True, kw_only=True)
class TimeLimits:
    """How long a task that calls code of yours may take before it is ended, by stage, and how much a generator may print."""

    check: str = "1h"
    """One look into the files and modules, which tries your code."""
    generate: str = "2d"
    """A call of a generator. Example: `"30min"`."""
    read: str = "1d"
    """A piece of a sample with columns that your functions compute."""
    convert: str = "1d"
    """A sample with columns that your functions compute."""
    trials: str = "2d"
    """A pack of trials of a search, with networks of yours. Example: `"2h"`."""
    train: str = "2d"
    """A pack of networks of yours. Example: `"2h"`."""
    combine: str = "1d"
    """Making an estimator of networks of yours."""
    covariance: str = "1d"
    """The covariance of an estimator of networks of yours."""
    export: str = "6h"
    """Exporting networks of yours."""
    diagnose: str = "1d"
    """Measuring an estimator of networks of yours, or against your densities."""
    evaluate: str = "1d"
    """Evaluating networks of yours."""
    fit: str = "1d"
    """A fit with your densities."""
    interval: str = "1d"
    """A scan with your densities."""
    precision: str = "1d"
    """Comparing networks with your densities."""
    replica: str = "1d"
    """A replica with networks of yours."""
    toys: str = "1d"
    """A block of toys that your function throws. Example: `"1h"`."""
    report: str = "1d"
    """A report that evaluates your densities."""
    output: str = "10MB"
    """What of a generator's output is kept, for standard output and standard error each. Example: `"100MB"`."""

    def of(self, stage: str) -> float:
        """Give the limit of a stage in seconds; there is none for stages that call no code of the user's."""
        return seconds(getattr(self, stage)) if stage in {field.name for field in fields(self)} else float("inf")
