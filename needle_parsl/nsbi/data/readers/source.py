"""Where the bytes of an input file come from: a path of this machine, or an address that fsspec opens."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BufferedReader, RawIOBase
from pathlib import Path
from typing import Any, TypeVar

import xxhash

from needle_parsl import addresses, kinds, ownership, stamps
from needle_parsl.errors import InputError, legible

T = TypeVar("T")
is_remote = addresses.is_remote
CACHE = "NEEDLE_CACHE"
"""Environment variable that names a folder for copies of remote files; without it they are read in place."""
PAUSES = (0.5, 2.0, 8.0)
"""Seconds before a failed remote read is tried again."""
PAGE = 2**20
"""Bytes that a remote read asks for at least."""
PROTOCOLS = {"root": "xrootd", "http": "urls", "https": "urls"}
"""The extra that brings what an address needs."""


@dataclass(frozen=True)
class InputSource:
    """An input file that can be opened."""

    name: str
    """As the user wrote it, without what may be a secret."""
    file: Any
    """A path, or an open file."""
    size: int
    """Bytes."""
    links: tuple[str, ...] = ()
    """Other files from which it may take data."""

    def again(self) -> Any:
        """Give the file from its beginning."""
        if not isinstance(self.file, str):
            self.file.seek(0)
        return self.file


def locate(path: str) -> InputSource:
    """Find an input file.

    Raises:
        InputError: It is not there or empty, or what its address needs is not installed.
    """
    return _remote(path) if is_remote(path) else _local(path, path)


def _local(name: str, path: str) -> InputSource:
    if wrong := kinds.unreadable(Path(path)):
        raise InputError(f"{name}: {wrong}")
    size = Path(path).stat().st_size
    if size == 0:
        raise InputError(f"{name}: is empty (0 bytes)")
    try:
        path.encode()
    except UnicodeEncodeError:  # a name that is not UTF-8, which libraries do not take; an open file they do
        return InputSource(legible(name), BufferedReader(_Local(path, size)), size)
    return InputSource(name, path, size)


def _remote(url: str) -> InputSource:
    if folder := os.environ.get(CACHE):
        return _local(addresses.shown(url), _copied(url, folder))
    filesystem, path = _filesystem(url)
    size = patiently(url, lambda: filesystem.size(path))
    if size is None:
        raise InputError(
            f"{addresses.shown(url)}: its server does not say how large it is; set {CACHE} to a folder for a copy"
        )
    file = patiently(url, lambda: filesystem.open(path, "rb", block_size=PAGE, size=size))
    return InputSource(addresses.shown(url), BufferedReader(_Patient(url, file), PAGE), size)


def expand(pattern: str) -> list[str]:
    """List the addresses that a pattern with `*` names, in canonical order; one without it is not asked for.

    Raises:
        InputError: There are none.
    """
    if "*" not in pattern:
        return [pattern]
    filesystem, path = _filesystem(pattern)
    found = sorted(patiently(pattern, lambda: filesystem.glob(path)))
    if not found:
        raise InputError(f"{pattern}: no file matches")
    return [url if is_remote(url) else filesystem.unstrip_protocol(url) for url in found]


def stamp(path: str, links: Sequence[str] = ()) -> list[Any]:
    """Say in which state a file is, with those from which it takes data: equal stamps, equal content.

    Returns:
        Size, times and number of a local file, what the server says of a remote one; nothing for a file that has gone. A file that
        has changed a moment ago could change again within the same tick of its clock: its state is like no other.
    """
    if is_remote(path):
        filesystem, place = _filesystem(path)
        filesystem.invalidate_cache()  # of what the file was earlier
        facts = patiently(path, lambda: filesystem.info(place))
        return [facts.get("size"), *(str(facts[key]) for key in ("ETag", "mtime", "LastModified") if facts.get(key))]
    try:
        return [part for place in (path, *links) for part in stamps.of(Path(place).stat())]
    except OSError:
        return []


def digest(path: str, links: Sequence[str] = ()) -> str:
    """Fingerprint an input file: 128 bits of XXH3 of its content; of a remote one, of what in its address identifies it, and its state.

    With files from which it takes data, their content counts, too.
    """
    if links:
        return xxhash.xxh3_128_hexdigest(json.dumps([digest(place) for place in (path, *links)]).encode())
    if is_remote(path):
        return xxhash.xxh3_128_hexdigest(json.dumps([addresses.identity(path), stamp(path)]).encode())
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, xxhash.xxh3_128).hexdigest()


def patiently(url: str, read: Callable[[], T]) -> T:
    """Read from a server, and try again when it fails.

    Raises:
        InputError: It fails every time.
    """
    for pause in (*PAUSES, None):
        try:
            return read()
        except FileNotFoundError as error:
            raise InputError(f"{url}: no such file, or its server does not answer") from error
        except Exception as error:
            if pause is None:
                reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
                raise InputError(f"{url}: cannot be read: {reason}; is it there, and may you read it?") from error
            time.sleep(pause)
    raise AssertionError


def _filesystem(url: str) -> tuple[Any, str]:
    """Give the file system that an address is on, and its path there."""
    protocol = url.partition("://")[0]
    try:
        import fsspec  # noqa: PLC0415  an extra

        filesystem, path = fsspec.url_to_fs(url)
        return filesystem, str(path)
    except ImportError as error:
        extra = PROTOCOLS.get(protocol, "urls")
        raise InputError(f'{url}: "{protocol}://" needs more packages; pip install "needle-parsl[{extra}]"') from error
    except ValueError as error:
        raise InputError(f'{url}: "{protocol}://" is no protocol that can be read') from error


def _copied(url: str, folder: str) -> str:
    """Copy a remote file to a folder, unless it is there in its present state; give the path of the copy."""
    path = Path(folder) / f"{digest(url)}{Path(addresses.name(url)).suffix}"
    if path.parent.exists():
        ownership.insist(path.parent, instead=f"set {CACHE} to a folder of your own")
    if not path.exists():
        ownership.private(path.parent, f"set {CACHE} to a folder of your own")
        filesystem, place = _filesystem(url)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
        try:
            patiently(url, lambda: filesystem.get_file(place, str(temporary)))
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    return str(path)


class _Local(RawIOBase):
    """A local file whose name libraries do not take; closed when nobody has it any more."""

    def __init__(self, path: str, size: int) -> None:
        self.place, self.size, self.number = 0, size, os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def readinto(self, buffer: Any) -> int:
        data = os.pread(self.number, len(buffer), self.place)
        buffer[: len(data)] = data
        self.place += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        self.place = offset + (0, self.place, self.size)[whence]
        return self.place

    def tell(self) -> int:
        return self.place

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        if not self.closed:
            os.close(self.number)
        super().close()


class _Patient(RawIOBase):
    """A remote file whose reads are tried again when they fail."""

    def __init__(self, url: str, file: Any) -> None:
        self.url, self.file = url, file

    def readinto(self, buffer: Any) -> int:
        place = self.file.tell()

        def read() -> bytes:
            self.file.seek(place)
            found: bytes = self.file.read(len(buffer))
            return found

        data = patiently(self.url, read)
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        return int(self.file.seek(offset, whence))

    def tell(self) -> int:
        return int(self.file.tell())

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        self.file.close()
        super().close()
