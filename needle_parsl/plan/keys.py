"""Keys: fingerprints of what a task is made from."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields
from functools import cache
from typing import Any

NOT_IN_KEY = {"key": False}
"""Metadata of fields that say where something is, not what it is."""
IF_SAID = {"key": "said"}
"""Metadata of fields that came later: a part of the key where they are not what they are by default, so that what was made before them
keeps its key."""


def content(value: Any) -> Any:
    """Turn a spec into plain values, without the fields that only say where something is."""
    return json.loads(CANONICAL.encode(value))


def digest(value: Any) -> str:
    """Fingerprint specs and plain values: 16 bytes of BLAKE2b over canonical JSON, as hex."""
    return hashlib.blake2b(CANONICAL.encode(value).encode(), digest_size=16).hexdigest()


def _fields(spec: Any) -> dict[str, Any]:
    found = {name: getattr(spec, name) for name in _in_key(spec.__class__)}
    for name, default in _if_said(spec.__class__):
        if found[name] == default:
            del found[name]
    return found


@cache
def _in_key(kind: type) -> tuple[str, ...]:
    return tuple(f.name for f in fields(kind) if f.metadata.get("key", True))


@cache
def _if_said(kind: type) -> tuple[tuple[str, Any], ...]:
    return tuple((f.name, f.default) for f in fields(kind) if f.metadata.get("key") == "said")


CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), default=_fields)
"""Equal values have equal texts; a plan of 10^5 tasks is fingerprinted in two seconds."""
