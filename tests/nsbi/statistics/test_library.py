"""The script of docs/library.md: it runs as it stands, and says what the data are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "docs" / "library.md"


def test_script_of_the_documentation_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", SCRIPT.read_text(encoding="utf-8"), flags=re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(code, str(SCRIPT), "exec"), names)
    best = names["best"]
    assert best.converged  # type: ignore[attr-defined]
    # 600 background events where 500 are expected: the shape says that there is no signal, the rate that there is some
    assert -0.5 < best.value("mu") < 1.0  # type: ignore[attr-defined]
    assert "covariance" in capsys.readouterr().out
