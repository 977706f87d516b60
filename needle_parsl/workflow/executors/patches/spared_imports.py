"""Import Parsl without the SDK of Globus Compute, and without a library of databases, where nobody wants them.

Parsl: 2026.10.26, `parsl.executors` and `parsl.monitoring.db_manager`.
Without it: `import parsl` imports every executor, and with one of them the SDK wherever it is installed; and SQLAlchemy, which comes with other
    packages, for a monitoring that is not on: half of the time of the import, in each process of Parsl's.
Upstream: https://github.com/Parsl/parsl/issues/3818 (open).
Not needed any more when `test_plain_parsl_imports_what_nobody_wants` fails.
"""

from __future__ import annotations

import sys

SDK, DATABASES = "globus_compute_sdk", "sqlalchemy"
SPARED = "import runpy, sys\nfor name in {spared}: sys.modules[name] = None\nrunpy.run_module({module!r}, run_name='__main__', alter_sys=True)"
"""A program of Parsl's that uses none of them."""


def import_parsl(*, sdk: bool = False, databases: bool = False) -> None:
    """Import Parsl, with the SDK of Globus Compute or without, and with what its monitoring writes to or without."""
    wanted = {SDK: sdk, DATABASES: databases}
    spared = [name for name in wanted if not wanted[name] and not {"parsl", name} & sys.modules.keys()]
    for name in spared:
        # Python's way to say that it is not there.
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        import parsl  # noqa: PLC0415, F401  what this is for
    finally:
        for name in spared:
            del sys.modules[name]


def program(module: str) -> list[str]:
    """Give the command line of a module of Parsl's as a program that imports none of them."""
    return [sys.executable, "-P", "-c", SPARED.format(spared=(SDK, DATABASES), module=module)]
