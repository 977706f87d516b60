"""Strict TOML to frozen dataclasses: every mistake is found in one pass and said with file, line, key and closest name."""

from needle_parsl.reading.positions import Places
from needle_parsl.reading.schema import DERIVED, LATER, Key, among, key_of, keys, within
from needle_parsl.reading.strict import TableReader
from needle_parsl.reading.toml import dump, load, override

__all__ = [
    "DERIVED",
    "LATER",
    "Key",
    "Places",
    "TableReader",
    "among",
    "dump",
    "key_of",
    "keys",
    "load",
    "override",
    "within",
]
