"""A dask scheduler whose tasks run on the Parsl workers of a run, so that dask graphs and trainings share one pool.

    with dask.workers(site.load("local")) as pool:
        array.compute(scheduler=pool.get)

A task costs 1.5 ms with threads (docs/benchmarks.md), and more with worker processes, where results travel as pickles: this is for coarse
graphs, whose leaves read files and whose results are small. `Pool.get` needs the extra `dask`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from needle_parsl import ownership
from needle_parsl.site import Site
from needle_parsl.workflow import executors
from needle_parsl.workflow.executors import config


@dataclass(frozen=True)
class Pool:
    """The Parsl workers of a run."""

    kernel: Any
    """The data flow kernel."""
    label: str = config.LABEL
    """The executor that reads files."""

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Call a function on a worker; `nsbi.data.loading` reads windows with it."""
        from parsl import python_app  # noqa: PLC0415  Parsl, which is imported first by `patches/spared_imports`

        app = python_app(function, data_flow_kernel=self.kernel, executors=[self.label])
        future: Future[Any] = app(*arguments)
        return future

    def get(self, graph: Mapping[Hashable, Any], keys: Any, **_: Any) -> Any:
        """Compute keys of a dask graph; what `compute(scheduler=...)` takes.

        Args:
            graph: The dask graph.
            keys: A key, or nested lists of keys.

        Returns:
            The results, nested like the keys.
        """
        from dask.core import flatten  # noqa: PLC0415  an extra

        wanted = set(flatten([keys]))
        futures = self._submitted(graph, wanted)
        done = {key: futures[key].result() for key in wanted}
        return _filled(keys, done)

    def _submitted(self, graph: Mapping[Hashable, Any], wanted: set[Hashable]) -> dict[Hashable, Future[Any]]:
        """Submit every node with the futures of those before it, in dask's order of priority."""
        from dask._task_spec import convert_legacy_graph, fuse_linear_task_spec  # noqa: PLC0415  an extra
        from dask.order import order  # noqa: PLC0415  an extra

        nodes = fuse_linear_task_spec(convert_legacy_graph(dict(graph)), wanted)
        users = Counter(need for node in nodes.values() for need in node.dependencies)
        futures: dict[Hashable, Future[Any]] = {}
        for key in sorted(nodes, key=order(nodes).__getitem__):
            needs = tuple(nodes[key].dependencies)
            futures[key] = self.submit(_compute, nodes[key], needs, *(futures[need] for need in needs))
            users.subtract(needs)
            for need in needs:  # a result that nobody waits for any more may be forgotten
                if not users[need] and need not in wanted:
                    del futures[need]
        return futures


def _compute(node: Any, needs: tuple[Hashable, ...], *values: Any) -> Any:
    """Run a node of a dask graph on a worker."""
    return node(dict(zip(needs, values, strict=True)))


def _filled(keys: Any, done: Mapping[Hashable, Any]) -> Any:
    return [_filled(key, done) for key in keys] if isinstance(keys, list) else done[keys]


@contextmanager
def workers(site: Site) -> Iterator[Pool]:
    """Start Parsl for a while; a run has its own kernel, of which `Pool(kernel)` makes the same."""
    with ownership.temporary() as logs, executors.started(site, logs) as machine:
        yield Pool(machine.kernel, machine.labels["io"])
