"""A `physics.py` that misbehaves on a worker: it is named, and nothing hangs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from frail import Run, make

pytestmark = pytest.mark.campaign
TINY = ("training.members=1", "training.epochs=1", "samples.signal.events=2000", "samples.background.events=2000")
WORKER = "multiprocessing.parent_process() is not None"


def run_with(folder: Path, code: str) -> Run:
    """The small analysis, with code that runs at each call of `log_density`."""
    run = make(folder, *TINY)
    with (run.folder / "physics.py").open("a") as file:
        file.write(
            f"\n_density = log_density\ndef log_density(*x):\n    import os, signal, sys\n    {code}\n    return _density(*x)\n"
        )
    return run


@pytest.mark.parametrize(
    ("code", "exit_code", "said"),
    [
        ("raise RuntimeError('no tape')", 2, 'log_density of "background" failed: RuntimeError: no tape'),
        ("os.kill(os.getpid(), signal.SIGKILL)", 1, "its worker was killed by signal 9, possibly out of memory (process "),
    ],
    ids=["raises", "is killed"],
)  # fmt: skip
def test_failure_of_the_users_code_is_said_once_with_a_count(
    tmp_path: Path, code: str, exit_code: int, said: str
) -> None:
    run = run_with(tmp_path, code)
    ended = run.finish("local-htex")
    assert ended.returncode == exit_code, ended.stderr
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "possibly" in said or "memory" not in ended.stderr
    assert ended.stdout.strip().endswith("runs/frail")  # what the run prints at its end is there


def test_equal_failures_are_one_line(tmp_path: Path) -> None:
    ended = run_with(tmp_path, "sys.exit('enough')").finish("local-htex")
    assert ended.returncode == 2
    first, line = [line for line in ended.stderr.splitlines() if line.startswith("failed: diagnose")]
    assert (
        " and 2 more: the user's code ended the worker: SystemExit: enough" in line
    )  # the first one was said as it happened
    assert "more" not in first
    (where,) = [line for line in ended.stderr.splitlines() if line.startswith("  on ") and "diagnose" in line]
    log = where.rpartition("see ")[2]
    assert "SystemExit: enough" in (tmp_path / log).read_text()


def test_prints_and_forks_do_no_harm(tmp_path: Path) -> None:
    once = f"print('hello'); os.path.exists({str(tmp_path / 'forked')!r}) or (open({str(tmp_path / 'forked')!r}, 'x'), os.fork())"
    run = run_with(tmp_path, once)  # never more than one fork, whatever becomes of it
    ended = run.finish("local-htex", "--json")
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["failed"] == []
    assert run.repeated() == []
    keys = [entry["key"] for entry in run.ledger()]
    assert len(keys) == len(set(keys))


def test_does_not_import_on_the_worker(tmp_path: Path) -> None:
    run = make(tmp_path, *TINY)
    path = run.folder / "physics.py"
    path.write_text(path.read_text() + f"\nimport multiprocessing\nif {WORKER}: import no_such_module\n")
    ended = run.finish("local-htex")
    assert ended.returncode == 2
    assert "physics.py cannot be imported: ModuleNotFoundError: No module named 'no_such_module'" in ended.stderr
    assert "Traceback" not in ended.stderr


HUNGRY = '''
import os, torch
from signal import SIGKILL

class Hungry(torch.nn.Module):
    """Stands in for memory running out in the training of one member, which it knows by its seed."""
    def __init__(self, features):
        super().__init__()
        self.layer, self.seed = torch.nn.Linear(features, 1), torch.initial_seed()

    def forward(self, x):
        if self.training and str(self.seed % 2**16) == os.environ.get("NEEDLE_TEST_KILL"):
            os.kill(os.getpid(), SIGKILL)
        return self.layer(x)[:, 0]
'''


def hungry(folder: Path) -> Run:
    run = make(folder, *TINY, "training.members=4", "ensemble.quorum=0.5", 'training.network="physics.py:Hungry"')
    with (run.folder / "physics.py").open("a") as file:
        file.write(HUNGRY)
    return run


def test_a_member_that_kills_its_workers_is_lost_and_the_others_are_not(tmp_path: Path, monkeypatch) -> None:
    run = hungry(tmp_path)
    from needle_parsl.salts import key

    monkeypatch.setenv("NEEDLE_TEST_KILL", str(key(7, "member", "signal", 2, 0) % 2**16))
    ended = run.finish("local-htex", "--until", "fit")
    assert ended.returncode == 1, ended.stderr
    assert (
        "failed: train signal.0000: 1 of 4 members are lost: its worker was killed by signal 9, possibly"
        in ended.stderr
    )
    fits = run.fits()
    assert set(fits) == {"asimov.json", "exact.json"}  # three of four are a quorum
    lacking = {(e["stage"], e["what"]) for e in run.ledger() if e["lacks"]}
    assert ("combine", "signal") in lacking
    assert ("combine", "background.jes.up") not in lacking
    monkeypatch.delenv("NEEDLE_TEST_KILL")
    again = run.finish("local-htex", "--until", "fit", "--json")
    assert again.returncode == 0, again.stderr
    assert run.fits() != fits
    assert not (run.root / "packs" / "states" / "signal.0000").exists()
    alone = hungry(tmp_path / "alone")
    assert alone.finish("local", "--until", "fit").returncode == 0
    assert run.fits() == alone.fits()
