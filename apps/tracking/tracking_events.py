"""Toy events: charged particles on helices through a barrel of ten layers, with noise; and what is true of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import awkward as ak
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

LAYERS = np.array([0.032, 0.072, 0.116, 0.172, 0.260, 0.360, 0.500, 0.660, 0.820, 1.0], np.float32)
"""Radii. Unit: m."""
FIELD = 2.0
"""Unit: T."""
LOWEST, SLOPE = 0.5, 1.5
"""pT = 0.5 + exponential(1.5). Unit: GeV."""
ETA = 1.5
"""Largest |eta|."""
SPREAD = 0.05
"""Standard deviation of the vertex along the beam. Unit: m."""
AROUND, ALONG = 1e-4, 5e-4
"""Resolution in r phi and z. Unit: m."""
LOST, NOISE = 0.02, 0.1
"""Share of hits that are not seen, and of noise in units of what is seen."""


class Event(NamedTuple):
    """An event; N hits in no order, P particles."""

    x: Array
    """r, cos phi, sin phi, z of hits, (N, 4), in m."""
    particle: Array
    """Whose hit it is, (N,); -1 for noise."""
    pt: Array
    """(P,), in GeV."""
    eta: Array
    """(P,)."""


def simulate(events: int, tracks: int, seed: int) -> ak.Array:
    """Simulate events, as records with jagged columns: `r`, `phi`, `z`, `particle` of hits, `pt`, `eta` of particles."""
    generator = np.random.default_rng(seed)
    made = [_simulated(tracks, generator) for _ in range(events)]
    return ak.zip({name: _jagged([one[name] for one in made]) for name in made[0]}, depth_limit=1)


def _jagged(arrays: Sequence[Array]) -> ak.Array:
    """Put arrays of any length one after another; numbers stay of their kind."""
    return ak.unflatten(np.concatenate(arrays), [len(one) for one in arrays])


def _simulated(tracks: int, generator: np.random.Generator) -> dict[str, Array]:
    pt = LOWEST + generator.exponential(SLOPE, tracks)
    eta = generator.uniform(-ETA, ETA, tracks)
    phi, z = helices(pt, eta, generator)
    seen = generator.random(phi.shape) > LOST
    layer = np.broadcast_to(np.arange(len(LAYERS)), phi.shape)[seen]
    noise = _noise(generator.poisson(NOISE * seen.sum()), generator)
    hits = {
        "r": LAYERS[np.concatenate([layer, noise[0]])],
        "phi": np.concatenate([phi[seen], noise[1]]),
        "z": np.concatenate([z[seen], noise[2]]),
        "particle": np.concatenate([np.nonzero(seen)[0], np.full(len(noise[0]), -1)]).astype(np.int32),
    }
    order = generator.permutation(len(hits["r"]))
    columns = {name: one[order] for name, one in hits.items()} | {"pt": pt, "eta": eta}
    return {name: one if name == "particle" else one.astype(np.float32) for name, one in columns.items()}


def helices(pt: Array, eta: Array, generator: np.random.Generator) -> tuple[Array, Array]:
    """Let particles fly through all layers.

    With R = pT / (0.3 B) and sin a = r / (2 R): phi = phi_0 - q a, z = z_0 + 2 R a sinh(eta).

    Args:
        pt: (P,), in GeV.
        eta: (P,).
        generator: Of angles, charges, vertices and the resolution.

    Returns:
        phi and z in m, (P, L).
    """
    around, charge = generator.uniform(-np.pi, np.pi, len(pt)), generator.choice([-1, 1], len(pt))
    vertex = generator.normal(0, SPREAD, len(pt))
    radius = (pt / (0.3 * FIELD))[:, None]
    a = np.arcsin(LAYERS / (2 * radius))
    phi = around[:, None] - charge[:, None] * a + generator.normal(0, AROUND, a.shape) / LAYERS
    z = vertex[:, None] + 2 * radius * a * np.sinh(eta)[:, None] + generator.normal(0, ALONG, a.shape)
    return phi, z


def _noise(number: int, generator: np.random.Generator) -> tuple[Array, Array, Array]:
    """Give layer, phi and z of hits of nobody."""
    layer = generator.integers(len(LAYERS), size=number)
    z = LAYERS[layer] * np.sinh(generator.uniform(-ETA, ETA, number)) + generator.normal(0, SPREAD, number)
    return layer, generator.uniform(-np.pi, np.pi, number), z


def events_of(records: ak.Array) -> list[Event]:
    """Take events from what was read of a file."""
    columns = {name: [np.asarray(one) for one in records[name]] for name in records.fields}
    hits = zip(columns["r"], columns["phi"], columns["z"], strict=True)
    x = [np.stack([r, np.cos(phi), np.sin(phi), z], axis=1).astype(np.float32) for r, phi, z in hits]
    return [Event(*one) for one in zip(x, columns["particle"], columns["pt"], columns["eta"], strict=True)]


def true_edges(event: Event) -> Array:
    """List the pairs of successive hits of a particle, outwards; (2, E)."""
    order = np.lexsort((event.x[:, 0], event.particle))
    same = event.particle[order][1:] == event.particle[order][:-1]
    real = same & (event.particle[order][1:] >= 0)
    return np.stack([order[:-1][real], order[1:][real]])


def are_true(event: Event, edges: Array) -> Array:
    """Say which edges are pairs of successive hits; (2, E) gives (E,)."""
    n = len(event.x)
    true = true_edges(event)
    found: Array = np.isin(edges[0] * n + edges[1], true[0] * n + true[1])
    return found
