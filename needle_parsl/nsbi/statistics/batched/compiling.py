"""The one place that knows numba: how functions are compiled, and where the result is kept.

Sums become vector instructions by `reassoc`, `contract`, `arcp` and `nsz` alone: infinities and NaN keep their meaning.
"""

from __future__ import annotations

import hashlib
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

FAST = {"reassoc", "contract", "arcp", "nsz"}
AVAILABLE = find_spec("numba") is not None
"""Whether numba is installed; without it toys are fitted by NumPy and iminuit, several ten times slower."""


def folder() -> Path:
    """Give the folder of compiled code: one per type of processor and state of the sources.

    numba looks at the time of one file alone, and a function is compiled together with those of other files.
    """
    import llvmlite.binding as llvm

    cpu = f"{llvm.get_host_cpu_name()} {sorted(llvm.get_host_cpu_features().items())} {llvm.llvm_version_info}"
    sources = b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
    own = hashlib.blake2b(cpu.encode() + sources, digest_size=8).hexdigest()
    above = os.environ.get("NUMBA_CACHE_DIR") or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache"), "needle", "numba")
    return Path(above).expanduser() / f"{llvm.get_host_cpu_name()}-{own}"


def _compiler() -> Any:
    import llvmlite.binding as llvm
    import numba

    numba.config.CACHE_DIR = str(folder())
    features = llvm.get_host_cpu_features()
    if features.get("avx512f") and not numba.config.CPU_NAME:  # LLVM would use half of the width
        numba.config.CPU_NAME = llvm.get_host_cpu_name()
        numba.config.CPU_FEATURES = f"{features.flatten()},-prefer-256-bit"
    return numba.njit


_njit = _compiler() if AVAILABLE else None


def compiled(function: Any) -> Any:
    """Compile a function with vector sums when it is first called."""
    return _njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)(function) if _njit else function


def exactly(function: Any) -> Any:
    """Compile a function in which the order of operations matters."""
    return _njit(cache=True, fastmath=False, error_model="numpy", nogil=True)(function) if _njit else function
