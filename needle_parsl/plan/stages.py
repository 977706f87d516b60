"""The stages of a run, one row each: the only list of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Needs = Literal["cpu", "gpu", "io", "wide", "mpi"]
"""What a task needs: a small share of a node, one that trains, one that is near the files; any of many, for what comes by the
thousand, is short, and reads nothing outside of the run directory, so that it may go through Globus Compute; or all nodes of a block, for an MPI program."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What all tasks of one kind have in common."""

    name: str
    version: int
    """Raised when its task gives other results: what is done is then done again."""
    place: str
    """Where an output goes in the run directory, by its name."""
    work: str
    """The function that a worker calls, `module:function`. It takes the run directory, the task, and the records of the tasks before
    it, which only make it wait."""
    needs: Needs = "cpu"
    steps: Mapping[str, tuple[str, Needs]] = field(default_factory=dict, hash=False)
    """Further functions of the same task, with what they need: pieces of a pack, what is done after a program has ended."""
    program: bool = False
    """Whether a task may be a command of its own."""
    command: str = ""
    """The function that gives the command line of a task, `module:function`, where it is always one; `work` is called when that has ended."""
    networked: bool = False
    """Whether it makes networks, which may be the user's."""
    temporary: bool = False
    """Whether its outputs are removed when what is made of them is there."""
    section: bool = False
    """Whether its outputs are sections of the report, as `nsbi.report.sections` has them."""
    own: bool = False
    """Whether it is one of the user's, of `[stages]`."""

    def path(self, name: str) -> str:
        """Place an output, relative to the run directory."""
        return self.place.format(name)

    @property
    def nodes(self) -> Needs:
        """Say on which nodes its tasks belong where there is no executor of many short ones."""
        return "cpu" if self.needs == "wide" else self.needs

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        """Send a stage of needle's to workers by its name alone: it goes with each task."""
        if STAGES.get(self.name) is self:
            return _known, (self.name,)
        return _made, (dict(vars(self)),)

    @property
    def limit_key(self) -> str:
        """Name the key that says how long a task may take."""
        return f"stages.{self.name}.limit" if self.own else f"limits.{self.name}"

    def step(self, name: str) -> tuple[str, Needs]:
        """Give a function, with what it needs; "" is that of the stage."""
        return self.steps[name] if name else (self.work, self.needs)


_TASKS = "needle_parsl.tasks"
ALL = (
    Stage(
        name="generate",
        version=1,
        place="generated/{}.root",
        work=f"{_TASKS}.events:generated",
        needs="io",
        program=True,
        command=f"{_TASKS}.events:generator",
    ),
    Stage(name="read", version=1, place="events/parts/{}.h5", work=f"{_TASKS}.events:read", needs="io", temporary=True),
    Stage(
        name="merge",
        version=1,
        place="events/parts/{}.range.h5",
        work=f"{_TASKS}.events:merge",
        needs="io",
        temporary=True,
    ),
    # Its version stands for those of `read` and `merge`, too, since a store is named by its files alone.
    Stage(name="convert", version=2, place="events/{}.h5", work=f"{_TASKS}.events:convert", needs="io"),
    Stage(name="search", version=2, place="search/{}.json", work=f"{_TASKS}.search:decide"),
    Stage(
        name="trials", version=2, place="search/packs/{}.h5", work=f"{_TASKS}.trials:train", needs="gpu", networked=True
    ),
    Stage(
        name="train",
        version=6,
        place="packs/{}.h5",
        work=f"{_TASKS}.training:train",
        needs="gpu",
        steps={"piece": (f"{_TASKS}.training:piece", "gpu"), "gather": (f"{_TASKS}.training:gather", "cpu")},
        networked=True,
    ),
    Stage(
        name="normalise",
        version=1,
        place="estimators/{}.normalisation.h5",
        work=f"{_TASKS}.normalisation:normalise",
        networked=True,
    ),
    Stage(
        name="combine",
        version=4,
        place="estimators/{}/estimator.h5",
        work=f"{_TASKS}.estimators:combine",
        networked=True,
    ),
    Stage(
        name="covariance", version=1, place="estimators/{}.h5", work=f"{_TASKS}.estimators:covariance", networked=True
    ),
    Stage(name="compose", version=1, place="estimators/{}.h5", work=f"{_TASKS}.estimators:compose"),
    Stage(name="export", version=1, place="estimators/{}.json", work=f"{_TASKS}.estimators:export", networked=True),
    Stage(
        name="diagnose",
        version=8,
        place="estimators/{}/diagnostics.json",
        work=f"{_TASKS}.estimators:diagnose",
        networked=True,
    ),
    Stage(
        name="networks",
        version=1,
        place="analyses/{}/section.json",
        work=f"{_TASKS}.report:networks",
        section=True,
    ),
    Stage(
        name="searched",
        version=1,
        place="search/section{}.json",
        work=f"{_TASKS}.search:section",
        section=True,
    ),
    Stage(name="evaluate", version=2, place="ratios/{}.h5", work=f"{_TASKS}.estimators:evaluate", networked=True),
    Stage(name="count", version=1, place="regions/{}.json", work=f"{_TASKS}.fits:count"),
    Stage(name="regions", version=1, place="fits/{}.json", work=f"{_TASKS}.regions:compare", section=True),
    Stage(name="fit", version=8, place="fits/{}.json", work=f"{_TASKS}.fits:fit"),
    Stage(name="interval", version=7, place="fits/{}.json", work=f"{_TASKS}.fits:interval"),
    Stage(name="morphing", version=1, place="fits/{}.json", work=f"{_TASKS}.morphing:describe", section=True),
    Stage(name="breakdown", version=1, place="fits/{}.json", work=f"{_TASKS}.fits:breakdown"),
    Stage(name="residuals", version=1, place="fits/{}.json", work=f"{_TASKS}.fits:residuals"),
    Stage(name="goodness", version=1, place="fits/{}.json", work=f"{_TASKS}.goodness:goodness"),
    Stage(name="validation", version=1, place="fits/{}.json", work=f"{_TASKS}.goodness:validation"),
    Stage(name="replica", version=2, place="bootstrap/{}.h5", work=f"{_TASKS}.replicas:replica", networked=True),
    Stage(name="bootstrap", version=1, place="fits/{}.json", work=f"{_TASKS}.replicas:bootstrap"),
    Stage(name="precision", version=1, place="fits/{}.json", work=f"{_TASKS}.precision:precision"),
    Stage(
        name="toys",
        version=7,
        place="toys/{}.h5",
        work=f"{_TASKS}.toys:toys",
        needs="wide",
        steps={"thrown": ("needle_parsl.handover:thrown", "wide")},
        program=True,
        networked=True,
    ),
    Stage(name="neyman", version=7, place="intervals/{}.json", work=f"{_TASKS}.toys:neyman"),
    Stage(name="coverage", version=4, place="intervals/{}.json", work=f"{_TASKS}.toys:coverage"),
    Stage(name="report", version=8, place="{}", work=f"{_TASKS}.report:report"),
)
"""The stages of needle, in their order."""
STAGES = {stage.name: stage for stage in ALL}


def place(stage: str, name: str) -> str:
    """Place an output of a stage of needle's, relative to the run directory: `place("convert", "background.jes.up")`."""
    return STAGES[stage].path(name)


def _known(name: str) -> Stage:
    return STAGES[name]


def _made(fields: Mapping[str, Any]) -> Stage:
    return Stage(**fields)
