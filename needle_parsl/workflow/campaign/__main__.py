"""The program: one thread for each process, before anything imports NumPy."""

from __future__ import annotations

import sys

from needle_parsl.workflow.processes import threads


def main() -> int:
    """Run on every process of an MPI job."""
    threads.one()  # else sums of more than some 10,000 numbers would be added up in another order than by `needle run`
    from needle_parsl.workflow.campaign import throwing

    return throwing.main()


if __name__ == "__main__":
    sys.exit(main())
