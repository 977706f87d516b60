"""Events with no jet, one jet, or two: a resonance over a background in two and three features, with everything known exactly.

Events without a jet have `mass` and `angle`, with one jet `recoil`, too; with two jets they are counted. Features are in units of the
background's width. `scale` moves the background in all of them, `width` makes it wider where there is one jet.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Columns = dict[str, npt.NDArray[np.generic]]

YIELD = {"signal": 250.0, "background": 1500.0}
"""As in analysis.toml; observed events are drawn from it."""
JETS = {"signal": (0.48, 0.40, 0.12), "background": (0.60, 0.25, 0.15)}
"""Shares of events with no, one and two jets."""
MEAN = {"signal": (0.8, -0.4, 1.0), "background": (0.0, 0.0, 0.0)}
"""Of mass, angle and recoil."""
SHIFT = 0.2
"""How far the means of the background move by one standard deviation of `scale`."""
WIDER = 0.1
"""By which part the background gets wider by one standard deviation of `width`."""
MORE = {"scale": {1: 1.03, -1: 0.98}, "width": {1: 1.02, -1: 0.98}}
"""Yields of the background relative to the nominal one."""
FEATURES = {0: ("mass", "angle"), 1: ("mass", "angle", "recoil")}
"""By the number of jets."""


def _draw(process: str, rng: np.random.Generator, events: int, scale: float = 0.0, width: float = 0.0) -> Columns:
    jets = rng.choice(3, events, p=JETS[process])
    sigma = 1 + WIDER * width * (jets == 1)
    columns = (mean + SHIFT * scale + sigma * rng.standard_normal(events) for mean in MEAN[process])
    return {"jets": jets, **dict(zip(FEATURES[1], columns, strict=True))}


def signal(rng: np.random.Generator, events: int) -> Columns:
    """Draw signal events."""
    return _draw("signal", rng, events)


def background(rng: np.random.Generator, events: int) -> Columns:
    """Draw background events."""
    return _draw("background", rng, events) | {"weight": np.ones(events)}


def scale_up(rng: np.random.Generator, events: int) -> Columns:
    """Draw background events at scale = 1."""
    return _draw("background", rng, events, scale=1.0) | {"weight": np.full(events, MORE["scale"][1])}


def scale_down(rng: np.random.Generator, events: int) -> Columns:
    """Draw background events at scale = -1."""
    return _draw("background", rng, events, scale=-1.0) | {"weight": np.full(events, MORE["scale"][-1])}


def width_up(rng: np.random.Generator, events: int) -> Columns:
    """Draw background events at width = 1."""
    return _draw("background", rng, events, width=1.0) | {"weight": np.full(events, MORE["width"][1])}


def width_down(rng: np.random.Generator, events: int) -> Columns:
    """Draw background events at width = -1."""
    return _draw("background", rng, events, width=-1.0) | {"weight": np.full(events, MORE["width"][-1])}


def observed(rng: np.random.Generator, _events: int) -> Columns:
    """Draw a data set at mu = 1."""
    parts = [_draw(process, rng, rng.poisson(expected)) for process, expected in YIELD.items()]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def log_p(process: str, jets: int, x: Array, scale: float = 0.0, width: float = 0.0) -> Array:
    """Give ln p of events with so many jets.

    Args:
        process: `signal` or `background`; the signal has no systematic uncertainty.
        jets: 0 or 1.
        x: The features of such events, shape (N, 2) or (N, 3).
        scale: In standard deviations.
        width: In standard deviations.
    """
    moved = process == "background"
    mean = np.array(MEAN[process][: x.shape[1]]) + SHIFT * scale * moved
    sigma = 1 + WIDER * width * moved * (jets == 1)
    found: Array = -0.5 * (((x - mean) / sigma) ** 2).sum(axis=1) - x.shape[1] * np.log(sigma * np.sqrt(2 * np.pi))
    return found
