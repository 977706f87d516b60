"""`[stages.NAME]`: steps of the user's own, before, between and after those of needle."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

FORMATS: Mapping[str, str] = {
    "json": ".json",
    "arrays": ".h5",
    "hist": ".json",
    "table": ".parquet",
    "root": ".root",
    "rntuple": ".root",
    "section": ".json",
}
"""Formats of outputs that needle writes and reads, with the ending of the file. Any other ending, such as ".pdf", is that of a file that only the
user's code knows."""
EVENTS = ("table", "root", "rntuple")
"""Formats that may be the files of a sample."""
LISTS = ("samples", "variations", "ratios", "members", "files")
"""Lists of the analysis over which a stage may go."""
MADE = "stage:"
"""What names a stage in the place of files: `files = ["stage:skim"]`."""
FIELD = re.compile(r"\{\{|\}\}|\{(\w+(?:\.\w+)?)\}")
"""A placeholder of a command, or a brace that stands for itself."""
CUT = re.compile(r"[\s;|&<>()`\"']+")
"""What separates the words of a command line."""
MOST = 1000
"""Characters of the name of a file."""
Value = str | int | float | dict[str, Any]
"""A member of a list: what the function gets by the name of the list; of a table each field by its own name, too."""


@dataclass(frozen=True, kw_only=True)
class OwnStage:
    """A step of your own: a function or a command, called once for each combination of the lists in `over`."""

    function: str = ""
    """A function of yours. It gets by name what it has parameters for: members of the lists in `over`, outputs of the stages in `after`, `params`, and
    the path of an output that it writes itself. Example: `"physics.py:histogram"`."""
    command: str = ""
    """A command line instead, in which `{name}` stands for each of these, quoted for the shell. Example:
    `"skim --in {file} --out {events}"`."""
    analysis: str = ""
    """Another analysis instead, whose networks are trained and combined first, in this run; later stages get the paths of its estimators by the names of their
    ratios, and `[features.computed]` may take a log ratio of it. Example: `"preselection.toml"`."""
    over: dict[str, str | tuple[Value, ...]] = field(default_factory=dict)
    """Lists by name: values, tables with a `name`, the pattern of some files, or `"samples"`, `"variations"`, `"ratios"`, `"members"`, `"files"` of this
    analysis. Of several lists, all combinations. Example: `{ file = "raw/*.root", tree = ["nominal", "jes_up"] }`."""
    after: tuple[str, ...] = ()
    """Stages whose outputs it gets: of yours, or of needle, such as `"convert"`, `"fit"`. Example: `["histogram"]`."""
    before: tuple[str, ...] = ()
    """Stages that wait for it: of yours, which get its outputs as if they named it in `after`, or of needle. Example: `["fit"]`."""
    merge: str = ""
    """Makes one output of all: `"sum"` (numbers, arrays and histograms; exactly rounded), `"concatenate"` (tables and arrays, in the order of
    `over`), or a function of the list of outputs. Example: `"sum"`."""
    merge_over: tuple[str, ...] = ()
    """Lists whose members `merge` puts together; there is a merge for each combination of the others. Left out, all lists. Example: `["file"]`."""
    outputs: dict[str, str] = field(default_factory=lambda: {"result": "json"})
    """Outputs with their formats: `json`, `arrays`, `hist`, `table` (Parquet), `root` (TTree), `rntuple`, `section` (of the report), or an ending of your
    own. Example: `{ spectrum = "hist", events = ".csv" }`."""
    params: dict[str, Any] = field(default_factory=dict)
    """Further arguments. Example: `{ bins = 60 }`."""
    needs: Literal["cpu", "gpu", "io", "mpi"] = "cpu"
    """Where it runs: a share of a node, a worker with a GPU, near the files; or, for a command, as an MPI program on all nodes of the shape `mpi`."""
    limit: str = "1d"
    """How long one call may take. Example: `"30min"`."""

    def named(self) -> list[str]:
        """List the placeholders of the command."""
        return [found[1] for found in FIELD.finditer(self.command) if found[1]]

    def apart(self) -> list[str]:
        """Name the lists whose members a merge leaves apart."""
        return [name for name in self.over if self.merge_over and name not in self.merge_over]


def following(stages: Mapping[str, OwnStage]) -> dict[str, OwnStage]:
    """Say at the stages of the user's that wait for another one that they come after it."""
    return {
        name: replace(
            own, after=(*own.after, *(n for n, one in stages.items() if name in one.before and n not in own.after))
        )
        for name, own in stages.items()
    }


def words(command: str) -> list[str]:
    """List the words of a command line that may be files, without placeholders."""
    cut = [word for text in CUT.split(command) for word in (text, text.rpartition("=")[2])]
    return [word for word in dict.fromkeys(cut) if word and "{" not in word and len(word) < MOST]


def suffix(kind: str) -> str:
    """Give the ending of the file of an output."""
    return FORMATS.get(kind, kind)


def made_by(text: str) -> tuple[str, str]:
    """Cut `stage:skim.events` into the stage and its output; the output is empty where there is but one."""
    stage, _, output = text.removeprefix(MADE).partition(".")
    return stage, output
