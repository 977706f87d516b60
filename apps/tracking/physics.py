"""The stages of the tracking chain: each reads what earlier ones have made, and calls the functions of the modules beside this file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import numpy.typing as npt
import tracking_chain as chains
import tracking_events as toy
import tracking_results as results
import tracking_training as training

Array = npt.NDArray[Any]
Arrays = dict[str, Array]


def simulate(part: Mapping[str, Any], tracks: int) -> ak.Array:
    """Simulate the events of a part: hits and particles, as an RNTuple."""
    return toy.simulate(part["events"], tracks, part["seed"])


def embedding(simulate: ak.Array, epochs: int, radius: float, seed: int) -> Arrays:
    """Train the embedding; with it goes the radius within which hits are neighbours."""
    found: Arrays = training.train_embedding(toy.events_of(simulate), epochs, radius, seed)
    return found


def edge_filter(simulate: ak.Array, embedding: Arrays, epochs: int, cut: float, seed: int) -> Arrays:
    """Train the filter on edges between neighbours."""
    events = toy.events_of(simulate)
    found: Arrays = training.train_filter(events, training.near_of(embedding, events), epochs, cut, seed)
    return found


def interaction(
    simulate: ak.Array, embedding: Arrays, edge_filter: Arrays, epochs: int, cut: float, seed: int
) -> Arrays:
    """Train the interaction network on what the filter lets pass."""
    events = toy.events_of(simulate)
    filtered = training.filtered_by(edge_filter, events, training.near_of(embedding, events))
    found: Arrays = training.train_interaction(events, filtered, epochs, cut, seed)
    return found


def chain(
    embedding: Mapping[str, Arrays], edge_filter: Mapping[str, Arrays], interaction: Mapping[str, Arrays], weights: str
) -> None:
    """Put the weights of all networks, and their cuts, into the one file that the chain is loaded from."""
    own = {"embedding": embedding, "filter": edge_filter, "interaction": interaction}
    arrays: dict[str, Any] = {
        f"{name}.{key}": one for name, given in own.items() for key, one in given["training"].items() if key != "losses"
    }
    np.savez(Path(weights), **arrays)


def tracks(simulate: ak.Array, chain: str) -> Arrays:
    """Find the track candidates of events: `labels` of all hits, one event after another, and edges after each step."""
    events = toy.events_of(simulate)
    with np.load(chain) as arrays:
        own = chains.Chain(dict(arrays))
    graphs = [own.graph(event.x) for event in events]
    steps = {
        name: np.sum(
            [results.step(event, getattr(graph, name)) for event, graph in zip(events, graphs, strict=True)], axis=0
        )
        for name in ("near", "filtered", "kept")
    }
    return {"labels": np.concatenate([graph.labels for graph in graphs]), **steps}


STEPS = {"near": "embedding and neighbours", "filtered": "filter", "kept": "interaction network"}


def performance(simulate: ak.Array, tracks: Arrays, demanded: float, most_fakes: float) -> dict[str, Any]:
    """Compare the candidates with the truth: a section of the report, and its numbers."""
    events = toy.events_of(simulate)
    ends = np.cumsum([len(event.x) for event in events])[:-1]
    steps = {title: tracks[name] for name, title in STEPS.items()}
    true = sum(results.true_number(event) for event in events)
    found = results.numbers(events, np.split(tracks["labels"], ends), steps, true)
    return {"page": results.section(found, demanded, most_fakes), "numbers": found}
