"""Arguments and options that commands share, and what the shell completes for them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from needle_parsl import reading, rundir, shipped, site
from needle_parsl.analysis import Analysis
from needle_parsl.plan.stages import STAGES
from needle_parsl.reading.schema import NAME


def sites(incomplete: str) -> list[str]:
    """Complete the name of a site."""
    return [name for name in site.known() if name.startswith(incomplete)]


def runs(incomplete: str) -> list[str]:
    """Complete the name of a run under `runs/`."""
    return sorted(path.parent.name for path in Path("runs").glob(f"{incomplete}*/{rundir.RUN}"))


def remote_runs(incomplete: str) -> list[str]:
    """Complete the id of a remote run."""
    return sorted(path.stem for path in Path("~/.needle/submitted").expanduser().glob(f"{incomplete}*.json"))


def stages(incomplete: str) -> list[str]:
    """Complete a stage."""
    return [stage for stage in STAGES if stage.startswith(incomplete)]


def apps(incomplete: str) -> list[str]:
    """Complete the name of an app."""
    return [path.parent.name for path in sorted(shipped.folder("apps").glob(f"{incomplete}*/analysis.toml"))]


def keys(incomplete: str) -> list[str]:
    """Complete a key of the analysis; the names of samples and parameters are the user's own."""
    found = (key.path for key in reading.keys(Analysis) if NAME not in key.path)
    return [f"{key}=" for key in found if key.startswith(incomplete)]


AnalysisFile = Annotated[Path, typer.Argument(help="An analysis.toml, or the folder that holds it.")]
RunName = Annotated[
    str, typer.Argument(metavar="RUN", help="A run directory, or its name under runs/.", autocompletion=runs)
]
RemoteRun = Annotated[
    str, typer.Argument(metavar="RUN_ID", help="The id that needle submit gave.", autocompletion=remote_runs)
]
SiteName = Annotated[
    str,
    typer.Option("--site", help="The machine: a name from 'needle sites', or a TOML file.", autocompletion=sites),
]
ShownSite = Annotated[str, typer.Argument(help="The name of a site.", autocompletion=sites)]
SubmitScript = Annotated[bool, typer.Option("--submit-script", help="Print what would be submitted to the scheduler.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override one key; may be repeated.", autocompletion=keys),
]
Out = Annotated[Path | None, typer.Option("--out", help="The run directory; by default runs/NAME.")]
Until = Annotated[
    str | None, typer.Option("--until", metavar="STAGE", help="The last stage to run.", autocompletion=stages)
]
Force = Annotated[bool, typer.Option("--force", help="Go on in the run directory of another analysis.")]
Verify = Annotated[
    bool, typer.Option("--verify", help="Read all input files and code again, whatever their sizes and times.")
]
Overwrite = Annotated[bool, typer.Option("--force", help="Replace a file that needle did not write; never an input.")]
Trust = Annotated[
    bool,
    typer.Option(
        "--trust", help="Execute code that the run directory holds, although it is somebody else's; it is recorded."
    ),
]
Detach = Annotated[
    bool, typer.Option("--detach", help="Run in the background; follow with attach, status, logs, cancel.")
]
Unblind = Annotated[
    bool, typer.Option("--unblind", help="Look at the observed data; who does so is recorded in run.json.")
]
Strict = Annotated[bool, typer.Option("--strict", help="End with exit code 3 when a check fails.")]
Json = Annotated[bool, typer.Option("--json", help="Output JSON.")]
Pilot = Annotated[
    str | None,
    typer.Option(
        "--pilot", metavar="1%", help="Run a slice in a directory of its own, and estimate the cost of the whole."
    ),
]
Precision = Annotated[
    float | None,
    typer.Option(
        "--precision",
        metavar="SHARE",
        help="Show members, events and node-hours for which networks make up this share of the error, such as 0.05.",
    ),
]
Probe = Annotated[
    bool,
    typer.Option("--probe", help="Inspect all files and modules again; measure here how long trainings take."),
]
App = Annotated[
    str | None, typer.Option("--from", metavar="APP", help="An app to copy: its name or folder.", autocompletion=apps)
]
DataFile = Annotated[list[Path] | None, typer.Option("--data", metavar="FILE...", help="Data files to start from.")]
