"""What the checks of a run mean for its result, as its report says it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from needle_parsl import files
from needle_parsl.errors import InputError
from needle_parsl.workflow import forms

FORM = {"state": str, "verdict": str}
SUMMARY = Path("report", "summary.json")


def has_report(state: Mapping[str, Any]) -> bool:
    """Whether a run, as `run.json` describes it, has come to its report; an earlier one may lie there still."""
    return bool(state["stages"].get("report", {}).get("done") == 1)


def of(root: Path, state: Mapping[str, Any]) -> dict[str, str]:
    """Give the worst `state` of all checks and the `verdict`, the heading of the report; nothing without a report that can be read."""
    if not has_report(state):
        return {}
    try:
        found = files.read_json(root / SUMMARY)
    except InputError:
        return {}
    return {key: found[key] for key in FORM} if forms.fits(found, FORM) else {}
