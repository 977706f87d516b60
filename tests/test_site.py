from __future__ import annotations

from pathlib import Path

import pytest

from needle_parsl import shipped, site
from needle_parsl.errors import InputError

SHIPPED = sorted(path.stem for path in shipped.folder("site_configs").glob("*.toml"))


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_site_can_be_read(name: str) -> None:
    assert site.load(name).description


def test_local_is_shipped() -> None:
    assert "local" in SHIPPED


def test_the_users_own_file_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "site_configs").mkdir()
    (tmp_path / "site_configs" / "local.toml").write_text('description = "mine"\nworkers_per_node = 3\n')
    assert site.load("local").workers() == 3


def test_folder_in_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.toml").write_text('description = "mine"\nscratch = "${PLACE}/x"\n')
    monkeypatch.setenv("NEEDLE_SITES", str(tmp_path))
    monkeypatch.setenv("PLACE", "/scratch")
    assert site.load("mine").scratch == "/scratch/x"


def test_unset_variable_and_unknown_key_are_said_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.toml").write_text('description = "mine"\nscratch = "$NEEDLE_NOWHERE/x"\nworkers = 3\n')
    monkeypatch.delenv("NEEDLE_NOWHERE", raising=False)
    with pytest.raises(InputError) as caught:
        site.load(str(tmp_path / "mine.toml"))
    first, second = str(caught.value).splitlines()
    assert "scratch: needs the environment variable NEEDLE_NOWHERE, which is not set" in first
    assert "workers: unknown key" in second


def test_unknown_site_names_the_closest() -> None:
    with pytest.raises(InputError, match='there is no site "locl"; did you mean "local"'):
        site.load("locl")
