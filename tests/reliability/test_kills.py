"""`kill -9` at random moments: the next run finishes, repeats nothing that is recorded, and gives the same bytes."""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from frail import PATIENCE, Run, busy, cast, family, kill, left, make

MOST_LOST = 10.0
"""Seconds of training that a kill may cost."""
WHO = (
    "driver@local",
    "driver@local-htex",
    "interchange@local-htex",
    "manager@local-htex",
    "worker@local-htex",
    "helper@local-htex",
)
WITHIN = 0.8
"""Part of an undisturbed run in which moments are, so that all come before its end; `local` takes less time."""
LONG = ("training.epochs=2000", "training.patience=10000")
"""Packs of more than 10 s, of which a state is written after 8 s."""


def disturb(run: Run, role: str, site: str, due: Callable[[], bool], *more: str) -> dict[str, object]:
    """Run, kill one process as soon as it is due, see how that ends, and run again.

    Returns:
        What happened: for the docs.
    """
    started = time.monotonic()
    process = run.start(site, *more)
    victims: list[psutil.Process] = []
    while process.poll() is None and not (due() and victims):
        time.sleep(0.02)
        victims = cast(family(process))[role]
    after = time.monotonic() - started
    processes = family(process)
    lost, killed = run.oldest_state(), bool(victims)
    if victims:
        kill(max(victims, key=busy))
    moment = time.monotonic()
    _, errors = process.communicate(timeout=PATIENCE)
    went_on = time.monotonic() - moment
    orphans, gone_after = left(processes)
    stages = [entry["stage"] for entry in run.ledger() if not entry["reason"]]
    again = run.finish(site, *more)
    return {
        "role": role, "site": site, "after": round(after, 1), "killed": killed, "recorded": len(stages), "exit": process.returncode,
        "said": errors[-300:], "went_on": round(went_on, 1), "orphans": len(orphans), "gone_after": round(gone_after, 2),
        "lost": round(lost, 2), "again": again.returncode, "again_said": again.stderr[-300:], "repeated": run.repeated(),
    }  # fmt: skip


def judge(facts: dict[str, object], run: Run, expected: dict[str, bytes]) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    assert facts["again"] == 0, facts
    assert facts["orphans"] == 0, facts
    assert facts["repeated"] == [], facts
    assert run.fits() == expected
    assert "Traceback" not in str(facts["said"])
    if facts["killed"]:  # exit code 0: the run was about to end by itself
        wanted = {"driver": (-9, 0), "interchange": (1, 0), "manager": (0,), "worker": (0,), "helper": (0,)}[
            str(facts["role"])
        ]
        assert facts["exit"] in wanted, facts


TO_FITS = ("--until", "precision")
BEFORE_FITS = 10
"""Tasks that are recorded before the first fit: a kill after fewer of them never comes too late."""


@pytest.mark.parametrize("who", WHO)
def test_killed_once(undisturbed: Run, frail: Run, who: str) -> None:
    """Six moments, drawn anew at each run: after some recorded task and a part of a second, on machines of any speed."""
    role, site = who.split("@")
    tasks, pause = random.randrange(BEFORE_FITS), random.uniform(0.0, 0.5)
    reached: list[float] = []

    def due() -> bool:
        if not reached and len(frail.ledger()) >= tasks:
            reached.append(time.monotonic())
        return bool(reached) and time.monotonic() - reached[0] >= pause

    facts = disturb(frail, role, site, due, *TO_FITS)
    assert facts["killed"], facts
    judge(facts, frail, undisturbed.fits())


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, bytes], float]:
    """What an undisturbed run with a long pack gives, and how long it takes."""
    run = make(tmp_path_factory.mktemp("long"), *LONG, nuisance=False)
    started = time.monotonic()
    assert run.finish("local-htex").returncode == 0
    packs = [entry["seconds"] for entry in run.ledger() if entry["stage"] == "train"]
    assert max(packs) > 10, packs
    return run.fits(), time.monotonic() - started


@pytest.mark.campaign
@pytest.mark.parametrize("number", range(30))
def test_thirty_moments(long: tuple[dict[str, bytes], float], tmp_path: Path, number: int) -> None:
    """Results stand in docs/reliability.md; run with `-s` to see the facts."""
    expected, takes = long
    role, site = WHO[number % len(WHO)].split("@")
    run = make(tmp_path / "run", *LONG, nuisance=False)
    ends = time.monotonic() + random.Random(number).uniform(1.0, WITHIN * takes)
    facts = disturb(run, role, site, lambda: time.monotonic() >= ends)
    judge(facts, run, expected)
    assert facts["killed"], facts
    assert facts["lost"] <= MOST_LOST, facts
