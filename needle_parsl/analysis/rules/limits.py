"""What is wrong with `[limits]`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from needle_parsl.analysis.tables import limits

if TYPE_CHECKING:
    from needle_parsl.analysis.rules.common import Complain
    from needle_parsl.analysis.tables import Analysis


def check(analysis: Analysis, complain: Complain) -> None:
    """Complain of what is no time, or no size."""
    for name, text in asdict(analysis.limits).items():
        if name == "output" and not limits.size(text) > 0:
            complain("limits.output", f'found "{text}", expected a size such as "10MB" (kB, MB, GB)')
        elif name != "output" and not limits.seconds(text) > 0:
            complain(f"limits.{name}", f'found "{text}", expected a time such as "2h" (s, min, h, d)')
