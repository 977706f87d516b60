"""The whole chain: laptop, Globus Compute endpoint, a real Slurm, its workers, and the report back on the laptop."""

from __future__ import annotations

import json
from pathlib import Path

import generated
import pytest
from laptop import Laptop, submitted, until
from site_here import LocalSite

pytestmark = [pytest.mark.remote, pytest.mark.slurm]
CLUSTER = """
description      = "CPU nodes of the tests"
scheduler        = "slurm"
executor         = "htex"
account          = "$NEEDLE_ACCOUNT"
constraint       = "cpu"
walltime         = "00:10:00"
cores_per_node   = 256
workers_per_node = 2
launcher         = "srun"
poll             = 2
"""


def test_from_the_laptop_to_slurm_and_back(
    far: LocalSite, slurm: dict[str, str], laptop: Laptop, tmp_path: Path
) -> None:
    file = generated.write(tmp_path / "app")
    sites = far.folder / "sites"
    sites.mkdir(exist_ok=True)
    (sites / "cluster.toml").write_text(CLUSTER)
    far.configure("cluster", SLURM_CONF=slurm["SLURM_CONF"], NEEDLE_SITES=str(sites), NEEDLE_ACCOUNT="needle")
    run = submitted(laptop, far.start("cluster"), file, site="cluster")
    ended = until(laptop, run, lambda facts: not facts["alive"])
    assert ended["state"]["status"] == "done", laptop("logs", run).out
    root = far.remote / run / "run"
    (job,) = json.loads((root / "jobs.json").read_text()).values()
    assert (job["nodes"], job["state"]) == (1, "CANCELLED")  # by needle, when all was done
    assert '"worker": "nid00' in (root / "ledger.jsonl").read_text().replace('":"', '": "')
    assert laptop("fetch", run).code == 0
    assert (tmp_path / "runs" / run / "report" / "index.html").read_bytes() == (
        root / "report" / "index.html"
    ).read_bytes()
    assert laptop("report", run).code == 0
