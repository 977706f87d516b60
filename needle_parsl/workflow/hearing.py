"""The warnings of a task: heard instead of printed, counted, and kept in its record."""

from __future__ import annotations

import threading
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_HEARD = threading.local()
_PRINT = warnings.showwarning


@contextmanager
def listening() -> Iterator[Counter[str]]:
    """Count the warnings of this thread; those of others are none of this task's."""
    _HEARD.counts = counts = Counter[str]()
    if warnings.showwarning is not _hear:
        warnings.showwarning = _hear
        # Behind all other filters: Python would otherwise show a warning once per line of code, whoever comes there.
        warnings.simplefilter("always", append=True)
    try:
        yield counts
    finally:
        del _HEARD.counts


def _hear(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
    counts = getattr(_HEARD, "counts", None)
    if counts is None:
        _PRINT(message, category, *place, **more)
    else:
        counts[f"{category.__name__}: {' '.join(str(message).split())}"] += 1
