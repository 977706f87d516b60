"""The figure of the networks' share of the error: what was measured, and how it falls with members and with events."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from needle_parsl.nsbi.report.figures.canvas import COLOURS, panels
from needle_parsl.nsbi.report.gathering import Facts
from needle_parsl.precision import PrecisionLaw

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = npt.NDArray[np.float64]
SPAN = 16.0
"""Members and events are drawn up to so many times those of the run."""


def shown(facts: Facts) -> bool:
    """Say whether there is a law."""
    law = facts.inference.precision
    return law is not None and law.known


def precision(facts: Facts) -> Figure:
    """Draw the share against members and against events."""
    law = facts.inference.precision
    assert law is not None
    figure, (members, events) = panels(2, width=4.6, height=3.4)
    _curves(members, law, np.geomspace(1, SPAN * law.members, 60), lambda m: (m, float(law.events)))
    _groups(members, law)
    members.set(xlabel="members of each ratio and fold", ylabel=f"share of the error of {law.parameter}")
    _curves(events, law, law.events * np.geomspace(1 / 4, SPAN, 60), lambda n: (float(law.members), n))
    _sources(events, law)
    events.set(xlabel="simulated events", ylabel="")
    low, high = _range(law)
    named: dict[str, Artist] = {}
    for axes in (members, events):
        axes.set(xscale="log", yscale="log", ylim=(low, high))
        axes.yaxis.set_major_formatter("{x:g}")
        named |= {label: handle for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(
        handles=list(named.values()), labels=list(named), loc="outside right upper", frameon=False, fontsize=8
    )
    return figure


def _range(law: PrecisionLaw) -> tuple[float, float]:
    """Give the shares between which all terms are, three decades at most."""
    ends = [(1.0, law.events / 4), (SPAN * law.members, SPAN * law.events)]
    high = 2 * max(law.share(*ends[0], floor=True)[0], 1e-9)
    terms = [_alone(law, name).share(law.members, law.events)[0] for name in LABELS if getattr(law, name)]
    return max(min([law.share(*ends[1])[0], *terms]) / 3, high / 1000), high


def _curves(axes: Axes, law: PrecisionLaw, x: Floats, at: Callable[[float], tuple[float, float]]) -> None:
    """Draw the share with its band, each of its terms alone, and the run."""
    share, error = np.array([law.share(*at(own)) for own in x.tolist()]).T
    axes.fill_between(x, np.maximum(share - error, 1e-4), share + error, color="0.85", linewidth=0)
    axes.plot(x, share, color="black", linewidth=1.4, label="networks")
    for (name, label), colour in zip(LABELS.items(), COLOURS, strict=False):
        if getattr(law, name):
            alone = _alone(law, name)
            axes.plot(x, [alone.share(*at(own))[0] for own in x.tolist()], "--", color=colour, linewidth=1, label=label)
    if law.floor:
        whole = [law.share(*at(own), floor=True)[0] for own in x.tolist()]
        axes.plot(x, whole, ":", color="black", linewidth=1, label="with the floor of this run")
    here = law.share(law.members, law.events)
    own = law.members if at(1.0)[0] == 1.0 else law.events
    axes.errorbar([own], [here[0]], yerr=[here[1]], fmt="o", color="black", markersize=5, label="this run")


LABELS = {"training": "noise of training", "simulation": "finite simulation"}


def _alone(law: PrecisionLaw, name: str) -> PrecisionLaw:
    """Keep one term."""
    training, simulation = (getattr(law, other) if other == name else None for other in LABELS)
    return replace(law, training=training, simulation=simulation)


def _groups(axes: Axes, law: PrecisionLaw) -> None:
    """Draw the noise of training as groups of members tell it."""
    for source, marker in (("members", "s"), ("repeats", "D")):
        found = [point for point in law.points if point.source == source]
        if found:
            x = [law.members / point.row[0] for point in found]
            variances = np.array([point.variance for point in found])
            relative = np.array([point.relative_error for point in found])
            _points(axes, law, np.array(x), variances, relative, marker, COLOURS[0], f"measured: {source}")


def _sources(axes: Axes, law: PrecisionLaw) -> None:
    """Draw the part of the finite simulation as each source tells it, the noise of training in it taken away."""
    for (source, marker), colour in zip(
        (("folds", "^"), ("replicas", "D"), ("weights", "v")), COLOURS[1:], strict=False
    ):
        for point in law.points:
            if point.source == source:
                noise = point.row[0] * (law.training or 0.0)
                left = max(point.variance - noise, 1e-12)
                relative = np.array([point.relative_error * point.variance / left])
                _points(
                    axes, law, np.array([law.events]), np.array([left]), relative, marker, colour, f"measured: {source}"
                )


def _points(
    axes: Axes, law: PrecisionLaw, x: Floats, variance: Floats, relative: Floats, marker: str, colour: str, label: str
) -> None:
    """Draw variances as shares."""
    share = np.sqrt(variance / (variance + law.sigma**2))
    error = np.minimum(share * relative / 2, 0.9 * share)
    axes.errorbar(x, share, yerr=error, fmt=marker, color=colour, markersize=4, linewidth=1, label=label)
