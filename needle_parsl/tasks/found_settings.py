"""What a search has found for the members of a pack: their settings, and the networks that are already trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from needle_parsl.analysis.space import ENSEMBLE, Value
from needle_parsl.errors import TaskError
from needle_parsl.files import read_json
from needle_parsl.nsbi.data import hdf5
from needle_parsl.nsbi.search.found import Found
from needle_parsl.nsbi.training import packs
from needle_parsl.nsbi.training.packs import Trained
from needle_parsl.plan import specs
from needle_parsl.tasks import inputs


@dataclass(frozen=True)
class Settings:
    """Of one pack."""

    settings: Mapping[str, Value] = field(default_factory=dict)
    lengths: tuple[int, ...] = ()
    said: str = ""
    """Words for them, in an ensemble of several settings."""
    pack: str = ""
    trial: int = 0


def of(root: str, spec: specs.Train) -> Settings:
    """Read what was found for a pack; nothing where nothing was searched."""
    if not spec.searched:
        return Settings()
    found = _found(root, spec.searched)
    own = found.chosen[spec.slot % len(found.chosen)]
    return Settings(own.settings, own.lengths, own.words if len(found.chosen) > 1 else "", own.pack, own.trial)


def _found(root: str, name: str) -> Found:
    return Found.from_json(read_json(inputs.path(root, "search", name)))


def combining(root: str, spec: specs.Combine) -> specs.Combine:
    """Take what a search has found of how members are combined: one ensemble has one way, that of the best trial."""
    if not spec.searched:
        return spec
    best = _found(root, spec.searched).chosen[0].settings
    own = {name.removeprefix(ENSEMBLE): str(value) for name, value in best.items() if name.startswith(ENSEMBLE)}
    combine, calibration = own.get("combine", spec.combine), own.get("calibration", spec.calibration)
    return replace(spec, combine=combine, calibration=calibration, code=None if "combine" in own else spec.code)


def networks(root: str, spec: specs.Train, found: Settings) -> list[Trained]:
    """Give the networks of a pack that the search has trained, under the numbers that they have in the ensemble."""
    wanted = {(member.replica, member.fold): member.member for member in spec.members if member.replica >= 0}
    if not found.pack or not wanted:
        return []
    with hdf5.opened(inputs.path(root, "trials", found.pack), "pack of trials") as file:
        group = file[f"{found.trial}/{spec.ratio.name}/networks"]
        known = packs.take(group)
    lacking = wanted.keys() - {(one.member, one.fold) for one in known}
    if lacking:
        raise TaskError(f"search/packs/{found.pack}.h5 has no network for member {min(lacking)[0]}")
    return [
        replace(one, member=wanted[one.member, one.fold], settings=found.said)
        for one in known
        if (one.member, one.fold) in wanted
    ]
