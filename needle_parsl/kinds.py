"""What stands at a path, in words: what is no file is named, and not opened, since a pipe would be waited for."""

from __future__ import annotations

import errno
import stat
from collections.abc import Callable
from pathlib import Path

FILE, FOLDER = "a file", "a folder"
SPECIAL = ("a pipe", "a socket", "a device", "something else")
"""What has no content of its own."""
NOWHERE = "a link that leads nowhere"
ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)
"""What the system says where there is nothing, as for a name that is too long for a file."""
KINDS: tuple[tuple[Callable[[int], bool], str], ...] = (
    (stat.S_ISREG, FILE),
    (stat.S_ISDIR, FOLDER),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def kind(path: Path) -> str:
    """Name what stands at a path, behind links; empty where nothing does."""
    try:
        mode = path.stat().st_mode
    except ValueError:  # a name that no file can have
        return ""
    except OSError as error:
        if error.errno not in ABSENT:
            raise
        return NOWHERE if error.errno != errno.ENAMETOOLONG and path.is_symlink() else ""
    return next((name for fits, name in KINDS if fits(mode)), "something else")


def unreadable(path: Path) -> str:
    """Say why a path is no input file, and what to do; empty if it is one."""
    found = kind(path)
    if found in ("", FILE):
        return "" if found else "no such file"
    if found == FOLDER:
        return "is a folder; name the files in it"
    if found == NOWHERE:
        return f"is {found}; mend the link, or name the file itself"
    return f"is {found}, and no file; write what it gives to a file, and name that"


def no_folder(path: Path) -> str:
    """Say what stands in the place of a folder; empty if there is one, or nothing."""
    found = kind(path)
    return "" if found in ("", FOLDER) else f"is {found} in the place of a folder"
