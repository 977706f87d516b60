"""The chain from hits to track candidates: embedding, neighbours, filter, interaction network, connected components.

It needs NumPy, SciPy and torch alone, so that an inference server runs this file as it is, with the weights beside it: `load`.

References:
    X. Ju et al. (Exa.TrkX), Performance of a geometric deep learning pipeline for HL-LHC particle tracking, arXiv:2103.06995.
    P. Battaglia et al., Interaction networks for learning about objects, relations and physics, arXiv:1612.00222.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from torch import Tensor, nn

Array = npt.NDArray[Any]
Arrays = Mapping[str, Array]

FEATURES = ("r", "cos_phi", "sin_phi", "z")
"""Of a hit; r and z in metres. The angle itself would have a seam at +- pi."""
SPACE = 8
"""Dimensions of the embedding."""
MOST = 64
"""Neighbours of a hit at most."""


def perceptron(*sizes: int) -> nn.Sequential:
    """Make a network with LayerNorm and SiLU between its layers."""
    layers: list[nn.Module] = []
    for inside, outside in pairwise(sizes):
        layers += [nn.Linear(inside, outside), nn.LayerNorm(outside), nn.SiLU()]
    return nn.Sequential(*layers[:-2])


def pairs(x: Tensor, edges: Tensor) -> Tensor:
    """Put what is known of both ends of edges side by side; (N, D) and (2, E) give (E, 2 D)."""
    return torch.cat([x[edges[0]], x[edges[1]]], dim=1)


def lines(x: Tensor, edges: Tensor) -> Tensor:
    """Describe the straight line through both hits of an edge, outwards: a network of differences would need long to learn it.

    Args:
        x: Hits, (N, 4).
        edges: Between different r, (2, E).

    Returns:
        dr in m, asinh(dz / dr), asinh(10 z) at the beam, sin(dphi), asinh(sin(dphi) / 2 dr); (E, 5). What has long tails is in asinh.
    """
    (r, cos, sin, z), (r_out, cos_out, sin_out, z_out) = x[edges[0]].T, x[edges[1]].T
    length = r_out - r
    slope = (z_out - z) / length
    turn = cos * sin_out - sin * cos_out
    beam = torch.arcsinh(10 * (z - r * slope))
    return torch.stack([length, torch.arcsinh(slope), beam, turn, torch.arcsinh(turn / (2 * length))], dim=1)


class Embedding(nn.Module):
    """Places hits so that successive ones of a particle are close to each other; (N, 4) gives (N, 8)."""

    def __init__(self) -> None:
        super().__init__()
        self.network = perceptron(len(FEATURES), 128, 128, 128, SPACE)

    def forward(self, x: Tensor) -> Tensor:
        """Evaluate the network."""
        place: Tensor = self.network(x)
        return place


class EdgeFilter(nn.Module):
    """Judges edges by their two hits; (N, 4) and (2, E) give logits (E,)."""

    def __init__(self) -> None:
        super().__init__()
        self.network = perceptron(2 * len(FEATURES), 128, 128, 1)

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        """Evaluate the network."""
        logit: Tensor = self.network(pairs(x, edges))
        return logit[:, 0]


class InteractionNetwork(nn.Module):
    """Judges edges by the graph around them: hits and edges tell each other what they know, several times."""

    def __init__(self, width: int = 32, rounds: int = 4) -> None:
        super().__init__()
        self.hits = perceptron(len(FEATURES), width, width)
        self.edges = perceptron(2 * len(FEATURES) + 5, width, width)
        self.hit_updates = nn.ModuleList(perceptron(3 * width, width, width) for _ in range(rounds))
        self.edge_updates = nn.ModuleList(perceptron(3 * width, width, width) for _ in range(rounds))
        self.head = perceptron(3 * width, width, 1)

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        """Give the logits of edges, (E,)."""
        h, e = self.hits(x), self.edges(torch.cat([pairs(x, edges), lines(x, edges)], dim=1))
        for of_hits, of_edges in zip(self.hit_updates, self.edge_updates, strict=True):
            e = e + of_edges(torch.cat([pairs(h, edges), e], dim=1))
            outward, inward = (torch.zeros_like(h).index_add(0, ends, e) for ends in edges)
            h = h + of_hits(torch.cat([h, outward, inward], dim=1))
        logit: Tensor = self.head(torch.cat([pairs(h, edges), e], dim=1))
        return logit[:, 0]


def neighbours(x: Array, place: Array, radius: float, most: int = MOST) -> Array:
    """Join hits that are close in the embedding.

    Args:
        x: Hits, (N, 4); those of one layer have equal r, and are not joined.
        place: Where the embedding has them, (N, 8).
        radius: Largest distance.
        most: Neighbours of a hit at most, itself included.

    Returns:
        Edges outwards, each once, sorted; (2, E).
    """
    if len(x) == 0:
        return np.zeros((2, 0), np.int64)
    found = cKDTree(place).query(place, k=range(1, most + 1), distance_upper_bound=radius)[1]
    a, b = np.repeat(np.arange(len(x)), found.shape[1]), found.reshape(-1)
    a, b = a[b < len(x)], b[b < len(x)]
    apart = x[a, 0] != x[b, 0]
    outward = (x[a, 0] < x[b, 0])[apart]
    inner, outer = np.where(outward, (a[apart], b[apart]), (b[apart], a[apart]))
    joined = np.unique(inner * len(x) + outer)
    return np.stack([joined // len(x), joined % len(x)])


def components(n: int, edges: Array) -> Array:
    """Number the connected components of a graph.

    Args:
        n: Hits; one without an edge is a component of its own, wherever it stands.
        edges: (2, E).

    Returns:
        The number of the component of each hit, (N,).
    """
    if n == 0:
        return np.zeros(0, np.int64)
    graph = coo_array((np.ones(edges.shape[1], np.int8), (edges[0], edges[1])), shape=(n, n))
    found: Array = connected_components(graph, directed=False)[1].astype(np.int64)
    return found


class Graph(NamedTuple):
    """What the chain makes of an event: edges after each step, (2, E), and labels (N,)."""

    near: Array
    filtered: Array
    kept: Array
    labels: Array


def weights_of(arrays: Arrays, prefix: str) -> dict[str, Array]:
    """Take the weights of one network from those of all."""
    return {name.removeprefix(prefix): one for name, one in arrays.items() if name.startswith(prefix)}


def filled(network: nn.Module, arrays: Arrays) -> nn.Module:
    """Give a network its weights; what else is in the arrays is left out."""
    names = network.state_dict().keys()
    network.load_state_dict({name: torch.from_numpy(np.array(arrays[name])) for name in names})
    return network.eval()


class Chain:
    """The chain with its weights.

    Args:
        arrays: `embedding.`, `filter.` and `interaction.` with weights, and `radius` of the first, `cut` of the others.
    """

    def __init__(self, arrays: Arrays) -> None:
        own = {name: weights_of(arrays, f"{name}.") for name in ("embedding", "filter", "interaction")}
        self.embedding = filled(Embedding(), own["embedding"])
        self.filter = filled(EdgeFilter(), own["filter"])
        self.interaction = filled(InteractionNetwork(), own["interaction"])
        self.radius = float(own["embedding"]["radius"])
        self.filter_cut, self.edge_cut = (float(own[name]["cut"]) for name in ("filter", "interaction"))

    def near(self, x: Array) -> Array:
        """Give the edges between hits that the embedding has close together, (2, E)."""
        with torch.inference_mode():
            place = self.embedding(torch.from_numpy(x)).numpy()
        return neighbours(x, place, self.radius)

    def graph(self, x: Array) -> Graph:
        """Build the graph of an event, with the components that are its track candidates; x has shape (N, 4)."""
        near = self.near(x)
        filtered = passing(self.filter, x, near, self.filter_cut)
        kept = passing(self.interaction, x, filtered, self.edge_cut)
        return Graph(near, filtered, kept, components(len(x), kept))


def passing(network: nn.Module, x: Array, edges: Array, cut: float) -> Array:
    """Keep the edges whose score is above a cut.

    Args:
        network: Gives logits of edges.
        x: Hits, (N, 4).
        edges: (2, E).
        cut: On the sigmoid of the logit.
    """
    with torch.inference_mode():
        score = torch.sigmoid(network(torch.from_numpy(x), torch.from_numpy(edges))).numpy()
    return edges[:, score > cut]


def load(folder: Path) -> Callable[[Arrays], dict[str, Array]]:
    """Give the chain as a function of named arrays, as an inference server calls it.

    Args:
        folder: Has `weights.npz`.

    Returns:
        A function from `FEATURES`, (N, 4), to `LABELS`, (N,): hits with equal labels are a track candidate.
    """
    with np.load(folder / "weights.npz") as arrays:
        chain = Chain(dict(arrays))

    def labels(arrays: Arrays) -> dict[str, Array]:
        x = np.array(arrays["FEATURES"], np.float32)
        if not np.isfinite(x).all():
            raise ValueError(f"a hit has no finite number for {', '.join(FEATURES)}")
        return {"LABELS": chain.graph(x).labels}

    return labels
