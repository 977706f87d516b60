"""HDF5 files without locks: a process that is being started holds its parent's open files for a moment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import os, sys, time
import needle_parsl
import h5py
file = h5py.File(sys.argv[1], "w")
child = os.fork()
if not child:
    time.sleep(60)
    os._exit(0)
try:
    file.close()
    h5py.File(sys.argv[1], "a").close()
finally:
    os.kill(child, 9)
    os.waitpid(child, 0)
"""


def test_a_file_that_a_new_process_still_holds_can_be_written(tmp_path: Path) -> None:
    env = {name: value for name, value in os.environ.items() if name != "HDF5_USE_FILE_LOCKING"}
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "file.h5")]
    subprocess.run(command, env=env, check=True, timeout=60)
    locked = subprocess.run(
        command, check=False, env={**env, "HDF5_USE_FILE_LOCKING": "TRUE"}, capture_output=True, timeout=60
    )
    assert b"unable to lock file" in locked.stderr  # what users say themselves counts
