from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from needle_parsl import files, records, rundir
from needle_parsl.records import Record
from needle_parsl.workflow import ledger


def record(key: str, root: Path, reason: str = "") -> Record:
    (root / "out").write_text(key)
    return Record(
        key=key,
        stage="train",
        what="signal",
        worker="host:1:t",
        seconds=1.5,
        output="out",
        digest=files.digest(root / "out"),
        reason=reason,
    )


def test_newest_line_of_a_key_counts(tmp_path: Path) -> None:
    for reason in ("broken", ""):
        ledger.append(tmp_path, record("a", tmp_path, reason))
    assert ledger.read(tmp_path)["a"].reason == ""


def test_torn_last_line_costs_one_record_and_does_not_swallow_the_next(tmp_path: Path) -> None:
    for key in ("a", "b"):
        ledger.append(tmp_path, record(key, tmp_path))
    path = tmp_path / rundir.LEDGER
    path.write_bytes(path.read_bytes()[:-20])
    assert set(ledger.read(tmp_path)) == {"a"}
    ledger.append(tmp_path, record("c", tmp_path))
    assert set(ledger.read(tmp_path)) == {"a", "c"}


def test_done_means_the_output_is_still_what_it_was(tmp_path: Path) -> None:
    found = record("a", tmp_path)
    assert records.holds(tmp_path, found)
    assert not records.holds(tmp_path, record("a", tmp_path, "broken"))
    (tmp_path / "out").write_text("changed")
    assert not records.holds(tmp_path, found)
    (tmp_path / "out").unlink()
    assert not records.holds(tmp_path, found)


def test_no_ledger_is_an_empty_one(tmp_path: Path) -> None:
    assert ledger.read(tmp_path) == {}


@settings(max_examples=300, deadline=None)
@given(st.lists(st.binary(max_size=80), max_size=6))
def test_any_bytes_are_read_without_an_error(tmp_path_factory, chunks: list[bytes]) -> None:
    root = tmp_path_factory.mktemp("ledger")
    ledger.append(root, record("a", root))
    with (root / rundir.LEDGER).open("ab") as file:
        file.write(b"\n".join(chunks))
    found = ledger.read(root)
    assert all(isinstance(entry, Record) for entry in found.values())
    assert "a" in found


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda c: st.lists(c) | st.dictionaries(st.text(), c), max_leaves=8))  # fmt: skip
def test_any_json_is_read_without_an_error(tmp_path_factory, value: object) -> None:
    import json

    root = tmp_path_factory.mktemp("ledger")
    (root / rundir.LEDGER).write_text(json.dumps(value) + "\n")
    assert ledger.read(root) == {}
