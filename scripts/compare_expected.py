"""Compare a run with what its app expects: `compare_expected.py RUN apps/NAME/expected.json`. Exits with 1 on a mismatch."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def compare(run: Path, expected: Path) -> list[tuple[str, Any, bool, str]]:
    """Give name, value found, whether it is within the tolerance, and what was expected."""
    summary = json.loads((run / "report" / "summary.json").read_text())
    lines = []
    for entry in json.loads(expected.read_text()):
        found = summary.get(entry["name"])
        good = isinstance(found, (int, float)) and abs(found - entry["value"]) <= entry["tolerance"]
        lines.append((entry["name"], found, good, f"{entry['value']:g} +- {entry['tolerance']:g}"))
    return lines


def main() -> None:
    """Print a line per number."""
    lines = compare(Path(sys.argv[1]), Path(sys.argv[2]))
    for name, found, good, wanted in lines:
        value = f"{found:.4g}" if isinstance(found, (int, float)) else str(found)
        print(f"{'ok      ' if good else 'MISMATCH'}  {name:22} {value:>9}   expected {wanted}")
    sys.exit(0 if all(good for _, _, good, _ in lines) else 1)


if __name__ == "__main__":
    main()
