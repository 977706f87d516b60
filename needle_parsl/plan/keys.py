"""Keys: fingerprints of what a task is made from."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields
from functools import cache
from typing import Any

NOT_IN_KEY = {"key": False}
"""Metadata of fields that say where something is, not what it is."""


def content(value: Any) -> Any:
    """Turn a spec into plain values, without the fields that only say where something is."""
    return json.loads(CANONICAL.encode(value))


def digest(value: Any) -> str:
    """Fingerprint specs and plain values: 16 bytes of BLAKE2b over canonical JSON, as hex."""
    return hashlib.blake2b(CANONICAL.encode(value).encode(), digest_size=16).hexdigest()


def _fields(spec: Any) -> dict[str, Any]:
    return {name: getattr(spec, name) for name in _in_key(spec.__class__)}


@cache
def _in_key(kind: type) -> tuple[str, ...]:
    return tuple(f.name for f in fields(kind) if f.metadata.get("key", True))


CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), default=_fields)
"""Equal values have equal texts; a plan of 10^5 tasks is fingerprinted in two seconds."""
