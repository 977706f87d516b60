"""What the chain has found against what is true: efficiency, fakes, and the section of the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from tracking_events import Event, are_true, true_edges

from needle_parsl.nsbi.report.sections import Section, SectionFigure, SectionTable, check

Array = npt.NDArray[Any]

FEWEST = 3
"""Hits of a track candidate, and of a particle that counts."""
BINS = {"pt": np.array([0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.5, 8.0]), "eta": np.linspace(-1.5, 1.5, 9)}
TITLES = {"pt": "pT [GeV]", "eta": "eta"}


class Matching(NamedTuple):
    """Which particles and candidates belong to each other."""

    countable: Array
    """Particles with at least 3 hits, (P,)."""
    found: Array
    """Those of them that have a candidate, (P,)."""
    real: Array
    """Candidates that have a particle, (C,)."""


def matched(event: Event, labels: Array) -> Matching:
    """Match by double majority: over half of the candidate's hits are the particle's, and over half of the particle's hits are in it.

    Args:
        event: With its true particles.
        labels: The candidate of each hit, (N,); those of fewer than 3 hits do not count.
    """
    particles = len(event.pt)
    shared = np.zeros((int(labels.max(initial=-1)) + 1, particles + 1), np.int64)
    np.add.at(shared, (labels, event.particle), 1)  # noise, -1, is the last column
    size, hits = shared.sum(axis=1), shared.sum(axis=0)[:particles]
    candidate = size >= FEWEST
    both = (2 * shared[:, :particles] > size[:, None]) & (2 * shared[:, :particles] > hits) & candidate[:, None]
    countable = hits >= FEWEST
    return Matching(countable, both.any(axis=0) & countable, both.any(axis=1)[candidate])


def step(event: Event, edges: Array) -> Array:
    """Count the edges that a step has left, and the true ones of them; (2,)."""
    return np.array([edges.shape[1], are_true(event, edges).sum()])


def true_number(event: Event) -> int:
    """Count the true edges."""
    return int(true_edges(event).shape[1])


def share(part: int, of: int) -> tuple[float, float]:
    """Give a share with its standard error; the error of (k + 1) / (n + 2), so that it is never 0."""
    near = (part + 1) / (of + 2)
    return part / max(of, 1), float(np.sqrt(near * (1 - near) / (of + 2)))


def numbers(events: Sequence[Event], labels: Sequence[Array], steps: Mapping[str, Array], true: int) -> dict[str, Any]:
    """Put all numbers of the section together.

    Args:
        events: Of the test.
        labels: Of their hits, (N,) each.
        steps: By name of a step, edges and true edges in all events, (2,).
        true: True edges in all events.
    """
    found = [matched(*one) for one in zip(events, labels, strict=True)]
    countable, tracks, real = (np.concatenate(one) for one in zip(*found, strict=True))
    efficiency, fakes = share(int(tracks.sum()), int(countable.sum())), share(int((~real).sum()), len(real))
    binned = {
        name: _binned(np.concatenate([getattr(e, name) for e in events]), countable, tracks, name) for name in BINS
    }
    return {
        "events": len(events),
        "particles": int(countable.sum()),
        "candidates": len(real),
        "efficiency": efficiency,
        "fakes": fakes,
        "steps": {
            name: {"edges": n / len(events), "efficiency": t / max(true, 1), "purity": t / max(n, 1)}
            for name, (n, t) in ((name, one.tolist()) for name, one in steps.items())
        },
        "binned": binned,
    }


def _binned(value: Array, countable: Array, found: Array, name: str) -> dict[str, list[Any]]:
    """Give the efficiency in bins, with standard errors; None for an empty bin."""
    of, part = (np.histogram(value[which], BINS[name])[0] for which in (countable, found))
    shares = [share(int(k), int(n)) for k, n in zip(part, of, strict=True)]
    return {
        "efficiency": [s[0] if n else None for s, n in zip(shares, of, strict=True)],
        "error": [s[1] for s in shares],
    }


def figure(binned: Mapping[str, Mapping[str, Any]], demanded: float) -> Figure:
    """Draw the efficiency against pT and eta."""
    drawn = Figure(figsize=(9, 3.6), layout="constrained")
    for axes, (name, edges) in zip(drawn.subplots(1, 2, sharey=True), BINS.items(), strict=True):
        middle, half = (edges[1:] + edges[:-1]) / 2, np.diff(edges) / 2
        values = binned[name]
        axes.errorbar(
            middle, np.array(values["efficiency"], float), values["error"], half, fmt="o", ms=4, color="tab:blue"
        )
        axes.axhline(demanded, color="tab:red", ls="--", lw=1, label=f"demanded of all: {demanded:g}")
        axes.set(xlabel=TITLES[name], ylim=(min(0.6, demanded - 0.1), 1.02))
        axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    drawn.axes[0].set_ylabel("track efficiency")
    return drawn


TEXT = """A candidate is a connected component of at least 3 hits. It is matched to a particle if over half of its hits are the particle's and
over half of the particle's hits are in it. The efficiency is the share of particles with at least 3 hits that are matched; fakes are candidates that are not."""


def section(found: Mapping[str, Any], demanded: float, most_fakes: float) -> Section:
    """Write the section of the report.

    Args:
        found: Of `numbers`.
        demanded: Track efficiency below which the check fails.
        most_fakes: Share of fakes from which on the check fails.
    """
    (efficiency, error), (fakes, fake_error) = found["efficiency"], found["fakes"]
    steps = [(name, *(one[key] for key in ("edges", "efficiency", "purity"))) for name, one in found["steps"].items()]
    tracks = (
        ("track efficiency", efficiency, error, found["particles"]),
        ("fake rate", fakes, fake_error, found["candidates"]),
    )
    return Section(
        "Tracks",
        TEXT,
        tables=(
            SectionTable(
                ("", "share", "error", "of"), tracks, f"{found['events']} events that no network was trained with."
            ),
            SectionTable(
                ("after", "edges per event", "efficiency", "purity"),
                tuple(steps),
                "Edges; true ones join successive hits.",
            ),
        ),
        figures=(SectionFigure.of(figure(found["binned"], demanded), "Track efficiency, with statistical errors."),),
        checks=(
            check(
                efficiency,
                (1 + 2 * demanded) / 3,
                demanded,
                "The track efficiency is high; train longer where it is not.",
            ),
            check(
                fakes,
                0.75 * most_fakes,
                most_fakes,
                "Few candidates are fakes; where many are, raise the cut on edges.",
            ),
        ),
    )
