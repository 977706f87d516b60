"""Put the sockets of Python's helper processes where their paths are short enough.

Parsl: 2026.10.26, `SpawnContext.Manager()` of `process_worker_pool`; Python 3.11 to 3.13, `multiprocessing.util.get_temp_dir`.
Without it: where TMPDIR has more than some 75 characters, as in jobs started by `mpiexec`, no pool of workers starts: "AF_UNIX path too long".
Upstream: https://github.com/Parsl/parsl/issues/3947 (open).
Not needed any more when `test_plain_python_opens_no_socket_in_a_long_folder` fails.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import tempfile
from multiprocessing import util

ROOM = 107 - len("/pymp-12345678/listener-12345678")
"""Characters that the folder of temporary files may have, so that a socket in it can be opened."""
SHORT = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108  in each, a folder of one's own is made


def shorten() -> str:
    """Let sockets be short, while tasks keep their TMPDIR; give why that cannot be, empty if it can."""
    if len(os.fsencode(tempfile.gettempdir())) <= ROOM:
        return ""
    short = next((place for place in SHORT if os.access(place, os.W_OK)), None)
    if short is None:
        return (
            f"TMPDIR has {len(tempfile.gettempdir())} characters, and a path of a socket 107 at most; set a shorter one"
        )
    folder = tempfile.mkdtemp(prefix="needle-", dir=short)
    vars(multiprocessing.process.current_process())["_config"]["tempdir"] = folder
    util.Finalize(None, shutil.rmtree, (folder, True), exitpriority=-100)
    return ""
