"""Write `tests/sites/texts/NAME.txt`: what every shipped site with a scheduler would submit; tests compare with it.

python scripts/write_submit_texts.py
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from needle_parsl import __version__, shipped, site
from needle_parsl.errors import InputError

FOLDER = Path(__file__).parent.parent / "tests" / "sites" / "texts"
SETTINGS = {"NEEDLE_ACCOUNT": "m1234", "PSCRATCH": "/scratch", "MEMBERWORK": "/scratch", "NEEDLE_SCRATCH": "/scratch"}
UNSET = ("NEEDLE_QUEUE", "NEEDLE_QOS", "NEEDLE_CONSTRAINT", "NEEDLE_INTERFACE", "NEEDLE_WALLTIME")


def text(name: str) -> str:
    """Give what a site would submit, the same on every machine; empty for one that submits nothing."""
    from needle_parsl.workflow.executors import preview

    os.environ.update(SETTINGS)
    for variable in UNSET:
        os.environ.pop(variable, None)
    try:
        scripts = preview.scripts(
            site.load(str(shipped.folder("site_configs") / f"{name}.toml")), Path("/runs/NAME/logs")
        )
    except InputError:
        return ""
    joined = "\n".join(f"### {title}\n{script}" for title, script in scripts.items())
    lines = (
        joined.replace(sys.executable, "/venv/bin/python").replace(f"VERSION={__version__}", "VERSION=X").splitlines()
    )
    return "\n".join([*(line.rstrip() for line in lines), ""])


def names() -> list[str]:
    """List the shipped sites."""
    return sorted(path.stem for path in shipped.folder("site_configs").glob("*.toml"))


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for each in names():
        if found := text(each):
            (FOLDER / f"{each}.txt").write_text(found, encoding="utf-8")
