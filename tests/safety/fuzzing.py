"""Mutations of the files that needle reads, at random: values of another kind, form or size, and bytes that have changed."""

from __future__ import annotations

import json
import random
from typing import Any

ODD: list[Any] = [
    None, True, 0, -1, 1, 2**31, 2**63, -(2**70), 1e308, 0.5, "", "x", "\0", "\x1b[31m", "../../etc/passwd", "/dev/zero", "os:system", "subprocess:check_output",
    "builtins:eval", "planted_module:x", "--user=victim", "é" * 300, "\ud800", [], [[]], {}, {"a": 1}, [1, "x"], "9" * 5000, float("nan"), float("inf"),
]  # fmt: skip


def value(whole: Any, chance: random.Random) -> Any:
    """Change one thing in a JSON value."""
    if isinstance(whole, dict) and whole and chance.random() < 0.9:
        name = chance.choice(sorted(whole))
        how = chance.random()
        if how < 0.1:
            return {key: one for key, one in whole.items() if key != name}
        if how < 0.2:
            return {**whole, str(chance.choice(ODD)): chance.choice(ODD)}
        return {**whole, name: value(whole[name], chance)}
    if isinstance(whole, list) and whole and chance.random() < 0.8:
        place = chance.randrange(len(whole))
        return [value(one, chance) if k == place else one for k, one in enumerate(whole)]
    return chance.choice(ODD)


def text(whole: Any, chance: random.Random) -> bytes:
    """Change one to three things in what a JSON file holds, and now and then its bytes."""
    for _ in range(chance.randint(1, 3)):
        whole = value(whole, chance)
    content = json.dumps(whole).encode(errors="surrogatepass")
    return flipped(content, chance) if chance.random() < 0.2 else content


def flipped(content: bytes, chance: random.Random) -> bytes:
    """Change, remove or repeat bytes."""
    found = bytearray(content)
    for _ in range(chance.randint(1, 4)):
        if not found:
            break
        place, how = chance.randrange(len(found)), chance.random()
        if how < 0.6:
            found[place] = chance.randrange(256)
        elif how < 0.8:
            del found[place : place + chance.randint(1, 20)]
        else:
            found[place:place] = found[place : place + chance.randint(1, 20)]
    return bytes(found)
