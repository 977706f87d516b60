"""What an analysis asks for: a kind of transform by feature, and the values that stand for nothing measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

AUTO = "auto"
NAN = "nan"
"""Stands for NaN in a list of missing values."""
STORED = -999.0
"""What NaN is stored as where no number is listed as missing; a value that nobody measures exactly."""


@dataclass(frozen=True)
class Wanted:
    """The wishes of an analysis; without any, each feature is looked at."""

    features: tuple[tuple[str, str], ...] = ()
    """Names and kinds; features that are left out are `auto`."""
    particles: tuple[tuple[str, str], ...] = ()
    """The same of the features of particles."""
    missing: tuple[float, ...] = ()
    """Values that stand for nothing measured."""
    nan: bool = False
    """Whether NaN does."""

    @staticmethod
    def of(
        missing: Iterable[float | str],
        features: Mapping[str, str] | None = None,
        particles: Mapping[str, str] | None = None,
    ) -> Wanted:
        """Take the words of the user's tables: numbers and `nan`, and kinds by feature."""
        listed = tuple(missing)
        numbers = tuple(value for value in listed if not isinstance(value, str))
        return Wanted(
            tuple(sorted((features or {}).items())), tuple(sorted((particles or {}).items())), numbers, NAN in listed
        )

    @property
    def stored(self) -> float:
        """What NaN is stored as: the first number that is listed, or one that nobody measures."""
        return self.missing[0] if self.missing else STORED

    @property
    def placeholders(self) -> tuple[float, ...]:
        """All numbers that stand for nothing measured, with the one that NaN is stored as."""
        return self.missing or ((self.stored,) if self.nan else ())
