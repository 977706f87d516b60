"""Know which executors of a kernel are those of the configuration.

Parsl: 2026.10.26, `DataFlowKernel.executors`.
Without it: the kernel's threads for its own work, `_parsl_internal`, would be taken for workers of the run, and tasks sent to them.
Upstream: no issue was found; one could be: "Keep _parsl_internal out of DataFlowKernel.executors".
Not needed any more when `test_plain_parsl_lists_its_own_executor_among_the_users` fails.
"""

from __future__ import annotations

from typing import Any


def of(kernel: Any) -> dict[str, Any]:
    """List the executors of a kernel by their labels."""
    return {label: executor for label, executor in kernel.executors.items() if not label.startswith("_parsl")}
