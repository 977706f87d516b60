"""Fixtures: a scheduler that is asked, and gives the answers of the test."""

from __future__ import annotations

from types import SimpleNamespace

import pytest


@pytest.fixture
def scheduler(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Answers Slurm's commands; `asked` has those that came."""
    found = SimpleNamespace(asked=[], answers={"sacct": (1, "", "disabled")})

    def wait(command: str, _: object) -> tuple[int, str, str]:
        program = command.partition(" ")[0]
        found.asked.append(program)
        answer: tuple[int, str, str] = found.answers[program]
        return answer

    monkeypatch.setattr("parsl.providers.cluster_provider.execute_wait", wait)
    return found
