"""Steps of the workloads as functions of arrays, with weights of a seed; copied into repositories, so that NumPy and SciPy are all it needs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

Array = npt.NDArray[Any]
NEAREST = 13
"""Neighbours of a hit, itself included: about nine edges a hit."""


def _perceptron(*sizes: int) -> Callable[[Array], Array]:
    """Make a network of random weights, the same each time."""
    draw = np.random.default_rng(sum(sizes))
    layers = [draw.normal(0, 1 / np.sqrt(a), (a, b)).astype(np.float32) for a, b in pairwise(sizes)]

    def call(x: Array) -> Array:
        for weights in layers[:-1]:
            x = np.tanh(x @ weights)
        return np.asarray(x @ layers[-1])

    return call


EMBEDDING, FILTER = _perceptron(4, 64, 64, 8), _perceptron(8, 64, 64, 1)
EDGES, HITS, HEAD = _perceptron(8, 32), _perceptron(36, 32, 4), _perceptron(40, 32, 1)


def embed(x: Array) -> Array:
    """Place hits: (N, 4) to (N, 8)."""
    return EMBEDDING(x)


def near(place: Array) -> Array:
    """Join each hit with those that are nearest, (2, E)."""
    n = len(place)
    found = cKDTree(place).query(place, k=min(NEAREST, n))[1].reshape(n, -1)
    a, b = np.repeat(np.arange(n), found.shape[1]), found.reshape(-1)
    joined = np.unique(np.minimum(a, b) * n + np.maximum(a, b))
    edges = np.stack([joined // n, joined % n])
    return edges[:, edges[0] != edges[1]]


def score(x: Array, edges: Array) -> Array:
    """Judge edges by their hits, (E,)."""
    return FILTER(np.concatenate([x[edges[0]], x[edges[1]]], axis=1))[:, 0]


def keep(edges: Array, scores: Array) -> Array:
    """Keep the better half of the edges."""
    return edges[:, scores >= np.median(scores)] if len(scores) else edges


def graph(x: Array, edges: Array) -> Array:
    """Judge edges by the graph around them, (E,)."""
    n, h = len(x), x
    e = np.tanh(EDGES(np.concatenate([h[edges[0]], h[edges[1]]], axis=1)))
    for _ in range(2):
        gathered = np.zeros((n, e.shape[1]), np.float32)
        np.add.at(gathered, edges[1], e)
        h = h + HITS(np.concatenate([h, gathered], axis=1))
    return HEAD(np.concatenate([h[edges[0]], h[edges[1]], e], axis=1))[:, 0]


def components(x: Array, edges: Array, scores: Array) -> Array:
    """Number the components of the best tenth of the edges, (N,)."""
    a, b = edges[:, scores >= np.quantile(scores, 0.9)] if len(scores) else edges
    found = coo_array((np.ones(len(a), np.int8), (a, b)), shape=(len(x), len(x)))
    return np.asarray(connected_components(found, directed=False)[1], np.int64)


def mean(*log_ratios: Array) -> Array:
    """Average what the networks say, (N, 1) each."""
    return np.asarray(np.mean(log_ratios, axis=0))


STEPS: Mapping[str, Callable[..., Array]] = {
    "embed": embed, "near": near, "score": score, "keep": keep, "graph": graph, "components": components, "mean": mean,
}  # fmt: skip


def load(folder: Path) -> Callable[[Mapping[str, Array]], dict[str, Array]]:
    """Give the function that takes the steps of `steps.json`, one after another: name, inputs and output of each."""
    steps = json.loads((folder / "steps.json").read_text())

    def call(arrays: Mapping[str, Array]) -> dict[str, Array]:
        known = dict(arrays)
        for name, inputs, output in steps:
            known[output] = STEPS[name](*(known[one] for one in inputs))
        return known

    return call
