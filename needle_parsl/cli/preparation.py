"""From what a user types to a prepared run: analysis, site and files are read, and the mistakes of all said at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from needle_parsl import rundir
from needle_parsl import site as sites
from needle_parsl.analysis import read
from needle_parsl.analysis.file import Loaded
from needle_parsl.cli import terminal
from needle_parsl.errors import InputError, Problem, closest
from needle_parsl.workflow import cost, prepared_run, probe, stage_probe, trust
from needle_parsl.workflow.prepared_run import Prepared

T = TypeVar("T")


def prepare(
    analysis: Path,
    site_name: str,
    out: Path | None,
    settings: list[str] | None,
    until: str | None,
    *,
    afresh: bool = False,
    unblind: bool = False,
) -> Prepared:
    """Read analysis and site, with the mistakes of both, and look at the files."""
    problems: list[Problem] = []
    opened = [*(settings or []), *(["fit.blind=false"] if unblind else [])]
    loaded = _or_note(problems, lambda: read(analysis, opened))
    site = _or_note(problems, lambda: sites.load(site_name))
    if loaded is None or site is None or loaded.problems:
        raise InputError.of([*(_mistakes(loaded) if loaded else []), *problems])
    root = out or Path(site.scratch).expanduser() / "runs" / loaded.analysis.name
    rundir.check(root, shared=site.shared)
    for sentence in (*sites.origin(site_name, site), *trust.foreign(loaded)):
        terminal.said(sentence)
    return prepared_run.prepare(root, loaded, site, until, afresh=afresh, unblind=unblind)


def _mistakes(loaded: Loaded) -> list[Problem]:
    return [*probe.mistakes(loaded), *stage_probe.mistakes(loaded)]


def _or_note(problems: list[Problem], read: Callable[[], T]) -> T | None:
    try:
        return read()
    except InputError as error:
        problems.extend(error.listed())
        return None


def pilot(
    whole: Prepared, part: str, analysis: Path, site: str, settings: list[str] | None, until: str | None
) -> Prepared:
    """Prepare a slice of a run, in a directory beside that of the whole."""
    fewer = cost.reduced(whole.loaded.analysis, cost.share(part))
    root = whole.root.with_name(whole.root.name + cost.PILOT)
    return prepare(analysis, site, root, [*(settings or []), *fewer], until)


def members(prepared: Prepared) -> int:
    """Count the members of its ensembles."""
    return prepared.loaded.analysis.training.count()


def find(run_name: str) -> Path:
    """Locate a run, by its folder or its name under `runs/`.

    Raises:
        InputError: There is none.
    """
    for path in (Path(run_name), Path("runs") / run_name):
        if any((path / mark).exists() for mark in (rundir.RUN, rundir.DRIVER)):
            return path
    known = [path.parent.name for path in Path("runs").glob("*/run.json")]
    raise InputError(f'there is no run "{run_name}", neither as a folder nor under runs/{closest(run_name, known)}')
