"""The form of a JSON file that others may have written: checked before anything of it is used."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Each:
    """A table with any names, whose values have one form."""

    form: Any


def fits(value: Any, form: Any) -> bool:
    """Whether a value has a form.

    Args:
        value: From JSON.
        form: A type, where float means any finite number and int no truth value; a list of one form; `Each`; or a table of forms by
            name, of which those that end in "?" may be missing. Other names are let pass.
    """
    if form is Any:
        return True
    if isinstance(form, Each):
        return isinstance(value, dict) and all(fits(one, form.form) for one in value.values())
    if isinstance(form, Mapping):
        return isinstance(value, dict) and all(_member(value, name, inner) for name, inner in form.items())
    if isinstance(form, list):
        return isinstance(value, list) and all(fits(one, form[0]) for one in value)
    return _plain(value, form)


def _plain(value: Any, form: type) -> bool:
    if form is float:
        return type(value) in (int, float) and math.isfinite(value)
    return isinstance(value, str) and "\0" not in value if form is str else type(value) is form


def _member(table: dict[str, Any], name: str, form: Any) -> bool:
    plain = name.removesuffix("?")
    return fits(table[plain], form) if plain in table else name.endswith("?")
