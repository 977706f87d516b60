"""Parsl, configured from a site."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from needle_parsl.site import Site

LABEL = "tasks"


@contextmanager
def started(site: Site, logs: Path) -> Iterator[Any]:
    """Start Parsl for a run, and end it after the last task.

    Args:
        site: The machine.
        logs: Where Parsl writes its own files.

    Yields:
        The data flow kernel, which apps are made for.
    """
    import parsl

    with parsl.load(_config(site, logs)) as kernel:
        try:
            yield kernel
        except BaseException:
            # Parsl would first run everything that waits; tasks that run already come to their end.
            kernel.executors[LABEL].executor.shutdown(wait=False, cancel_futures=True)
            raise


def _config(site: Site, logs: Path) -> Any:
    from parsl.config import Config
    from parsl.executors import ThreadPoolExecutor

    return Config(
        executors=[ThreadPoolExecutor(label=LABEL, max_threads=site.workers())],
        run_dir=str(logs / "parsl"),
        exit_mode="wait",
        strategy="none",
    )
