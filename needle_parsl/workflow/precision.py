"""What a wanted precision needs: members, events and node-hours, from what a run or its pilot has measured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from needle_parsl import files
from needle_parsl.errors import InputError
from needle_parsl.json_records import JsonRecord
from needle_parsl.plan import specs, stages
from needle_parsl.plan.replicas import FOLDER
from needle_parsl.precision import Needed, PrecisionLaw, needed
from needle_parsl.workflow import cost
from needle_parsl.workflow.prepared_run import Prepared

PLACE = stages.place("precision", "precision")


@dataclass(frozen=True, kw_only=True)
class PrecisionAnswer(JsonRecord):
    """What `needle plan --precision` adds to a plan."""

    run: str
    """The run directory, or that of its pilot, in which networks were measured."""
    law: PrecisionLaw
    share: float
    """The networks' share of the error of the parameter, in that run."""
    share_error: float
    """Statistical."""
    needed: Needed
    node_hours: float | None
    """Of all trainings of the ratios, from nothing; None where they were not timed, or where the share cannot be reached."""


def asked(share: float) -> float:
    """Check a wanted share.

    Raises:
        InputError: It is none.
    """
    if not 0 < share < 1:
        raise InputError(f"--precision: found {share:g}, expected a share of the error between 0 and 1, such as 0.05")
    return share


def answer(prepared: Prepared, share: float) -> PrecisionAnswer:
    """Say what a share of the error needs.

    Args:
        prepared: The run.
        share: The networks' part of the total error.

    Raises:
        InputError: Neither the run nor its pilot has measured its networks.
    """
    root, law = _measured(prepared.root)
    found, (own, error) = needed(law, asked(share)), law.share(law.members, law.events) if law.known else (0.0, 0.0)
    hours = _node_hours(prepared, law, found)
    return PrecisionAnswer(run=str(root), law=law, share=own, share_error=error, needed=found, node_hours=hours)


def _measured(root: Path) -> tuple[Path, PrecisionLaw]:
    for folder in (root, root.with_name(root.name + cost.PILOT)):
        if (folder / PLACE).is_file():
            return folder, _read(folder / PLACE)
    raise InputError(
        f'{root}: there is no run or pilot yet that has measured its networks; "needle run --pilot 1%" does'
    )


def _read(path: Path) -> PrecisionLaw:
    try:
        law = PrecisionLaw.from_json(files.read_json(path))
        law.variance(law.members, law.events)
    except (TypeError, ValueError, AttributeError, ZeroDivisionError) as error:
        raise InputError(f'{path}: damaged; "needle run" writes it anew') from error
    return law


def _node_hours(prepared: Prepared, law: PrecisionLaw, found: Needed) -> float | None:
    """Scale the time of a network, as measured, to so many members and events."""
    seconds, _ = cost.measured(prepared.root).get("train", (None, 0.0))
    if seconds is None or found.members is None or found.events is None:
        return None
    each = _networks(prepared) / prepared.loaded.analysis.training.count()
    shape = prepared.site.shapes()[prepared.site.shape_for("gpu")]
    longer = (found.events / law.events) ** law.growth
    return float(each * found.members * seconds * longer / shape.workers() / 3600)


def _networks(prepared: Prepared) -> int:
    """Count the networks of the ratios, without those of replicas."""
    trained = [task for task in prepared.plan.tasks if isinstance(task.spec, specs.Train) and not task.part]
    return sum(len(task.of(specs.Train).members) for task in trained if not task.name.startswith(f"{FOLDER}/"))
