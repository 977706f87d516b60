"""How many networks and events are enough: what the section of the report says."""

from __future__ import annotations

from dataclasses import dataclass

from needle_parsl.nsbi.report.gathering import Facts
from needle_parsl.precision import Needed, PrecisionLaw, needed

SHARES = (0.1, 0.05, 0.02)
"""Of the total error, for which the section says what they need."""
NAMES = {"training": "noise of training", "simulation": "finite simulation", "floor": "floor (beside them)"}
FALLS = {"training": "members", "simulation": "events", "floor": "not with members; with events, not known"}


@dataclass(frozen=True)
class Row:
    """What a share needs, with the node-hours of its trainings."""

    needed: Needed
    node_hours: float | None
    """None where the trainings of the run were not timed."""


@dataclass(frozen=True)
class Part:
    """A term of the law, as a share of the total error."""

    name: str
    share: float | None
    """sqrt(term / (term + sigma^2)); None where it is not known."""
    error: float | None
    falls: str
    """With what it falls."""


def rows(facts: Facts, law: PrecisionLaw) -> list[Row]:
    """Say what some shares need."""
    _, seconds = facts.seconds.get("train", (0, 0.0))
    hours = seconds / 3600 / facts.workers
    found = [needed(law, share) for share in SHARES]
    return [Row(own, hours * own.cost if hours and own.cost is not None else None) for own in found]


def parts(law: PrecisionLaw) -> list[Part]:
    """Give the terms for the members and events of the run."""
    found = []
    for place, (name, said) in enumerate(NAMES.items()):
        value, spread = getattr(law, name), law.covariance[place][place] ** 0.5
        share, high = ((x / (x + law.sigma**2)) ** 0.5 for x in (value or 0.0, (value or 0.0) + spread))
        known = value is not None
        found.append(Part(said, share if known else None, high - share if known else None, FALLS[name]))
    return found


def sentence(law: PrecisionLaw) -> str:
    """Say how large the networks' share is."""
    if not law.known:
        return f"How much of the error of {law.parameter} comes from networks is not known: {_reasons(law)}."
    share, error = law.share(law.members, law.events)
    found = (
        f"With {law.members} members and {law.events:,} simulated events, networks make up {share:.2g} ± {error:.1g} of the error of "
        f"{law.parameter}, in quadrature: without them it would be {100 * (1 - (1 - share**2) ** 0.5):.2g} % smaller."
    )
    return f"{found} Not known: {_reasons(law)}." if law.unknown else found


def _reasons(law: PrecisionLaw) -> str:
    return "; ".join(dict.fromkeys(law.unknown.values()))
