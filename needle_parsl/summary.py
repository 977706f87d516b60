"""What is read of a report by others than people: the numbers of its headline, and what its checks say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from needle_parsl.json_records import Json, JsonRecord

State = Literal["pass", "no power", "warning", "fail"]
Pieces = Sequence[Sequence[float]]
"""An interval, which may be several pieces (low, high)."""


@dataclass(frozen=True)
class Finding(JsonRecord):
    """What a check has found."""

    check: str
    state: State
    sentence: str
    effect: float | None = None
    """What it may do to the parameter of interest, in its standard errors; None where nobody has measured that."""
    ratio: str = ""
    """Which ratio it is about, if any."""


@dataclass(frozen=True)
class RatioState(JsonRecord):
    """What the checks of a ratio say."""

    state: State
    """Of its worst check."""
    no_power: tuple[str, ...]
    """Checks in this state, by name."""
    warning: tuple[str, ...]
    fail: tuple[str, ...]

    def to_json(self) -> Json:
        """Give the object; states are called as in checks."""
        written = super().to_json()
        return {name.replace("_", " "): value for name, value in written.items()}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Self:
        """Read it again."""
        return super().from_json({name.replace(" ", "_"): value for name, value in found.items()})


@dataclass(frozen=True)
class Measured:
    """The parameter of interest in one fit."""

    value: float
    error: float | None


@dataclass(frozen=True)
class Component(JsonRecord):
    """A component of the error of a parameter of interest; None where it is not known."""

    observable: float | None
    """By shifts of what was observed: these add up."""
    quadrature: float | None
    """By subtraction in quadrature."""


@dataclass(frozen=True, kw_only=True)
class FurtherResult(JsonRecord):
    """A further parameter of interest in the headline fit, as `Summary` has the first one; None where a number is not known."""

    value: float
    error: float | None
    statistical_error: float | None
    simulation_error: float | None
    ensemble_error: float | None
    total_error: float | None
    bootstrap_error: float | None
    minos: tuple[float, float] | None
    intervals: Mapping[str, Pieces]
    """Of the scan, by level."""
    result: str
    """As it is quoted."""
    quoted_intervals: Mapping[str, Mapping[str, str]]
    """By level and method."""


@dataclass(frozen=True, kw_only=True)
class Summary(JsonRecord):
    """`report/summary.json`. Errors and values are in units of the parameter of interest; None where they are not known."""

    dataset: str
    """Of the headline fit."""
    parameter: str
    """Of interest."""
    value: float
    error: float | None
    statistical_error: float | None
    simulation_error: float | None
    ensemble_error: float | None
    ensemble_error_of: str
    """What `ensemble_error` is of: `networks` or `ensemble weights`."""
    total_error: float | None
    bootstrap_error: float | None
    """By replicas, and its parts."""
    bootstrap_training: float | None
    bootstrap_simulation: float | None
    minos: tuple[float, float] | None
    intervals: Mapping[str, Pieces]
    """Of the scan, by level."""
    neyman_intervals: Mapping[str, Pieces] | None
    converged: bool
    """All fits."""
    networks: int
    networks_failed: int
    worst_normalisation: float | None
    """Largest distance from 1 of the mean of a ratio over its reference."""
    toys: int
    toys_failed: int
    fits: Mapping[str, Measured]
    """By name; in the file as `NAME_value` and `NAME_error`."""
    exact_shift: float | None
    """Learned minus exact on the same Asimov events, in exact errors; not in the file where it is None."""
    exact_error_ratio: float | None
    """Learned over exact error."""
    result: str
    """As it is quoted."""
    quoted_intervals: Mapping[str, Mapping[str, str]]
    """By level and method."""
    state: State
    """Of the worst check."""
    verdict: str
    """What it means for the result."""
    checks: Mapping[str, State]
    ratios: Mapping[str, RatioState]
    findings: tuple[Finding, ...]
    """That do not pass, the worst first."""
    warnings: tuple[str, ...]
    breakdown: Mapping[str, Mapping[str, Component]] | None = None
    """By parameter of interest the components of its error; None, and not in the file, where there are no nuisance parameters."""

    offset: tuple[str, ...] = ()
    """Parameters that are shifted by a hidden offset in what is of data; not in the file where there are none."""
    further: Mapping[str, FurtherResult] | None = None
    """Further parameters of interest, by name; None, and not in the file, where there are none, as that below."""
    correlations: Mapping[str, Mapping[str, float | None]] | None = None
    """Of the parameters of interest in the headline fit; None where one has no error."""
    neyman_region: Mapping[str, Mapping[str, Sequence[float]]] | None = None
    """By level the smallest and the largest value of each of two parameters in their Neyman region; None, and not in the file, without one."""

    def to_json(self) -> Json:
        """Give the object, with the numbers of fits side by side."""
        written = super().to_json()
        there = {name: getattr(self, name) is not None for name in LATER}
        for name in (name for name, given in {**there, "offset": bool(self.offset)}.items() if not given):
            del written[name]
        fits = {f"{name}_{key}": number for name, own in self.fits.items() for key, number in vars(own).items()}
        exact = {name: written[name] for name in EXACT if written[name] is not None}
        names = list(written)
        before, after = names[: names.index("fits")], names[names.index("result") :]
        return {**_some(written, before), **fits, **exact, **_some(written, after)}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Self:
        """Read it again."""
        fits = {name: Measured(found[f"{name}_value"], found.get(f"{name}_error")) for name in _names(found)}
        return super().from_json({**found, "fits": fits})


@dataclass(frozen=True, kw_only=True)
class StagesSummary(JsonRecord):
    """`report/summary.json` of an analysis of the user's stages alone."""

    state: State
    """Of the worst check."""
    verdict: str
    checks: Mapping[str, State]
    """By title of the section."""
    findings: tuple[Finding, ...]
    """That do not pass, the worst first."""
    sections: tuple[str, ...]
    """Their titles."""
    warnings: tuple[str, ...]


def read(found: Mapping[str, Any]) -> Summary | StagesSummary:
    """Read `report/summary.json`."""
    return (Summary if "parameter" in found else StagesSummary).from_json(found)


LATER = ("breakdown", "further", "correlations", "neyman_region")
"""Keys that are in the file where they are not None."""
EXACT = ("exact_shift", "exact_error_ratio")


def _some(written: Json, names: Sequence[str]) -> Json:
    return {name: written[name] for name in names}


def _names(found: Mapping[str, Any]) -> list[str]:
    return [key.removesuffix("_value") for key in found if key.endswith("_value")]
