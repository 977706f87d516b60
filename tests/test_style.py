"""The tools that every change keeps clean."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        ["ruff", "check", "."],
        ["ruff", "format", "--check", "."],
        ["mypy"],
        ["lint-imports"],
    ],
    ids=" ".join,
)
def test_tool_is_content(command: list[str]) -> None:
    program = str(Path(sys.executable).parent / command[0])
    done = subprocess.run([program, *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def test_no_personal_paths_in_what_is_shipped() -> None:
    for folder in ("site_configs", "apps"):
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and path.suffix in (".toml", ".py", ".md", ".json"):
                text = path.read_text()
                assert not [word for word in ("/home/", "/Users/", "/global/", "/root/") if word in text], path


@pytest.mark.parametrize("script", ["install", "demo", "test", "../.ci/run"])
def test_scripts_are_executable_and_parse(script: str) -> None:
    path = ROOT / "scripts" / script
    assert path.stat().st_mode & 0o111
    subprocess.run(["bash", "-n", str(path)], check=True)
