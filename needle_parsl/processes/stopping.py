"""How a process that trains is asked to stop, and how it answers."""

from __future__ import annotations

import threading

from needle_parsl.errors import TaskError

STOPPING = threading.Event()
"""Set when this process is to end: a training writes down its state, and stops."""
TRAINING = threading.Lock()
"""Held by a training. torch's global random state is one per process, so that threads train one after the other."""


class StoppedError(TaskError):
    """A training has stopped in time, and can go on from its state."""
