"""Import Parsl without the SDK of Globus Compute where nobody wants that.

Parsl: 2026.10.26, `parsl.executors`.
Without it: `import parsl` imports every executor, and with one of them the SDK wherever it is installed: a third of the time of the import.
Upstream: https://github.com/Parsl/parsl/issues/3818 (open).
Not needed any more when `test_plain_parsl_imports_the_sdk_of_globus_compute` fails.
"""

from __future__ import annotations

import sys

SDK = "globus_compute_sdk"


def import_parsl(*, sdk: bool) -> None:
    """Import Parsl, with its SDK of Globus Compute or without."""
    spared = not sdk and not {"parsl", SDK} & sys.modules.keys()
    if spared:
        # Python's way to say that it is not there.
        sys.modules[SDK] = None  # type: ignore[assignment]
    try:
        import parsl  # noqa: PLC0415, F401  what this is for
    finally:
        if spared:
            del sys.modules[SDK]
