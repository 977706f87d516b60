"""What features hold before anything runs: values that stand for nothing, columns that never vary, categories of data alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from needle_parsl.errors import InputError
from needle_parsl.nsbi.data.events import Events
from needle_parsl.nsbi.data.recipes import OBSERVED
from needle_parsl.nsbi.transforms import fitting
from needle_parsl.nsbi.transforms.fitting import Portion
from needle_parsl.nsbi.transforms.kinds import FITTED
from needle_parsl.nsbi.transforms.quantiles import Sorted
from needle_parsl.nsbi.transforms.transform import Transform
from needle_parsl.nsbi.transforms.wanted import Wanted

MOST = 100_000
"""Events of a sample among which repeated values are looked for."""
SHARE, EVENTS = 0.005, 20
"""Least share of the events, and least number of them, that a placeholder has."""
STRICT = ("log", "cyclic", "onehot")
"""Kinds that not every column can bear."""


@dataclass(frozen=True, kw_only=True)
class FeatureFacts:
    """What the features of a sample are."""

    sample: str
    names: tuple[str, ...]
    portion: Portion
    """Some of its events, from all over it."""
    complete: bool
    """Whether all of its events were looked at."""
    missing: npt.NDArray[np.float64]
    """Share of the events in which each feature has a value that is listed as missing, shape (F,)."""
    least: npt.NDArray[np.float32]
    """Smallest value of each feature that is not missing, shape (F,); infinite without any."""
    most: npt.NDArray[np.float32]
    """The largest one; minus infinity without any."""
    categories: Mapping[str, Mapping[float, int]]
    """Events by value, of features that become categories."""
    particles: tuple[tuple[str, ...], Portion] | None = None
    """Names and values of the features of particles."""

    @property
    def varied(self) -> bool:
        """Whether it is a variation of another sample."""
        return "." in self.sample


def see(sample: str, events: Events, wanted: Wanted, *, complete: bool, particles: Sequence[str] = ()) -> FeatureFacts:
    """Look at the features of a sample.

    Args:
        sample: Its name.
        events: As they are stored: what NaN stands for is a number.
        wanted: What the analysis asks for.
        complete: Whether these are all of its events.
        particles: Names of the features of particles.
    """
    absent = _nothing(wanted).absent(events.x)
    with_inf = [np.where(absent, fill, events.x) for fill in (np.inf, -np.inf)]
    some = events.take(slice(None, None, -(-max(len(events), 1) // MOST)))
    kinds, categories = dict(wanted.features), {}
    for k, name in enumerate(events.names):
        if kinds.get(name) == "onehot":
            values, counts = np.unique(events.x[~absent[:, k], k], return_counts=True)
            categories[name] = dict(zip(values.tolist(), counts.tolist(), strict=True))
    jets = some.particles
    return FeatureFacts(
        sample=sample, names=events.names, portion=Portion(some.x, some.weight), complete=complete,
        missing=absent.mean(axis=0) if len(events) else np.zeros(len(events.names)),
        least=with_inf[0].min(axis=0, initial=np.inf), most=with_inf[1].max(axis=0, initial=-np.inf), categories=categories,
        particles=None if jets is None else (tuple(particles), Portion(jets.values, np.repeat(some.weight, jets.counts))),
    )  # fmt: skip


def _nothing(wanted: Wanted) -> Transform:
    return Transform((), (), tuple(float(np.float32(value)) for value in wanted.placeholders), wanted.nan)


def problems(seen: Sequence[FeatureFacts], wanted: Wanted) -> list[tuple[str, str]]:
    """List what features cannot bear: the key that has to be mended, and a message."""
    return [*_unbearable(seen, wanted), *_of_data_alone(seen), *_nothing_varies(seen)]


def _nothing_varies(seen: Sequence[FeatureFacts]) -> Iterable[tuple[str, str]]:
    """Complain where no feature varies, so that all events are alike."""
    simulated = [one for one in seen if not one.varied and one.sample != OBSERVED and len(one.portion.x)]
    names = simulated[0].names if simulated and not any(one.particles for one in simulated) else ()
    if names and len(list(_still(simulated))) == len(names):
        yield (
            "features.names",
            (
                f"{_features(names)} the same in all simulated events, so that nothing can be learned; name features that vary, or leave out "
                "[ratios] and count in [model.regions] alone"
            ),
        )


def _unbearable(seen: Sequence[FeatureFacts], wanted: Wanted) -> Iterable[tuple[str, str]]:
    """Try the transforms that not every column can bear; of a logarithm, all events count."""
    found: dict[str, list[str]] = {}
    for one in seen:
        for key, kind, name, values in _strict(one, wanted):
            try:
                FITTED[kind](name, Sorted.of(values.astype(np.float64), np.ones(len(values))))
            except InputError as error:
                found.setdefault(key, []).append(f"sample {one.sample}: {error}")
    for key, messages in found.items():
        others = f" ({len(messages) - 1} more sample{'s' * (len(messages) > 2)}, too)" if len(messages) > 1 else ""
        yield key, messages[0] + others


def _strict(one: FeatureFacts, wanted: Wanted) -> Iterable[tuple[str, str, str, npt.NDArray[np.float32]]]:
    """List key, kind, name and values of the columns for which a transform was chosen that not all can bear."""
    nothing = _nothing(wanted)
    tables = [("features.transform", wanted.features, one.names, one.portion)]
    if one.particles:
        tables.append(("features.particles.transform", wanted.particles, *one.particles))
    for key, kinds, names, portion in tables:
        for name, kind in (pair for pair in kinds if pair[1] in STRICT and pair[0] in names):
            place = names.index(name)
            column = portion.x[:, place]
            values = column[~nothing.absent(column)]
            if portion is one.portion:
                ends = [edge[place] for edge in (one.least, one.most) if np.isfinite(edge[place])]
                values = np.concatenate([values, np.setdiff1d(ends, values)])
            if len(values):
                yield f"{key}.{name}", kind, name, values


def _of_data_alone(seen: Sequence[FeatureFacts]) -> Iterable[tuple[str, str]]:
    """Complain of categories that observed events have and no simulated one."""
    data, simulated = [s for s in seen if s.sample == OBSERVED], [s for s in seen if s.sample != OBSERVED]
    if not simulated or not all(one.complete for one in simulated):
        return
    for one in data:
        for name, values in one.categories.items():
            known = {value for other in simulated for value in other.categories.get(name, ())}
            alone = {value: count for value, count in values.items() if value not in known}
            if alone:
                yield (
                    f"features.transform.{name}",
                    f"sample observed: {unknown_categories(name, alone, 'simulated event')}",
                )


def unknown_categories(name: str, values: Mapping[float, int], known: str) -> str:
    """Say that events have categories that no other ones have.

    Args:
        name: Of the feature.
        values: Events by category.
        known: What the other ones are called, in the singular.
    """
    which = " and ".join(f"{value:g}" for value in sorted(values)[:3]) + (" and others" if len(values) > 3 else "")
    events = sum(values.values())
    return (
        f'feature "{name}" is {which} in {events} event{"s" * (events != 1)}, and in no {known}, so that nothing is known of '
        f'this category; leave such events out with features.selection, or say "auto" in features.transform.{name}'
    )


def notes(seen: Sequence[FeatureFacts], wanted: Wanted) -> list[str]:
    """List what is no mistake, and may be one: placeholders that are not listed, or not alike, and columns that never vary."""
    nominal = [one for one in seen if not one.varied and len(one.portion.x)]
    simulated = [one for one in nominal if one.sample != OBSERVED]
    return [*_offers(nominal, wanted), *_alone(simulated), *_still(simulated)]


def _offers(seen: Sequence[FeatureFacts], wanted: Wanted) -> Iterable[str]:
    """Offer values that repeat far away from all others."""
    found: dict[float, dict[str, dict[str, float]]] = {}
    for one in seen:
        for name, value, share in _atoms(one, wanted):
            found.setdefault(value, {}).setdefault(one.sample, {})[name] = share
    for value, samples in found.items():
        names = list(dict.fromkeys(name for shares in samples.values() for name in shares))
        where = ", ".join(f"{_percent(max(shares.values()))} of {sample}" for sample, shares in samples.items())
        listed = [f"{number:g}" if number != int(number) else f"{number:.1f}" for number in (*wanted.missing, value)]
        words = ", ".join([*listed, *(['"nan"'] if wanted.nan else [])])
        yield (
            f"{_features(names)} {value:g} in up to {where}, far from all other values; if it stands for nothing measured, say "
            f"missing = [{words}] in [features]"
        )


def _atoms(one: FeatureFacts, wanted: Wanted) -> Iterable[tuple[str, float, float]]:
    """List values at an end of a column that many events share, farther from all others than these are wide."""
    x = one.portion.x
    absent = _nothing(wanted).absent(x)
    for k, name in enumerate(one.names):
        values = x[~absent[:, k], k].astype(np.float64)
        for end, side in ((np.min, 1), (np.max, -1)):
            if not len(values):
                continue
            atom = float(end(values))
            rest, count = values[values != atom], int((values == atom).sum())
            if count < max(SHARE * len(x), EVENTS) or len(np.unique(rest[:1000])) < 3:
                continue
            low, high = np.quantile(rest, [0.16, 0.84])
            if side * (end(rest) - atom) > high - low > 0:
                yield name, atom, count / len(x)


def _alone(seen: Sequence[FeatureFacts]) -> Iterable[str]:
    """Warn of what is missing in one sample alone."""
    if len(seen) < 2:
        return
    found: dict[tuple[str, float], list[str]] = {}
    for name in seen[0].names:
        shares = {one.sample: float(one.missing[one.names.index(name)]) for one in seen if name in one.names}
        having = [sample for sample, share in shares.items() if share > 0]
        if len(having) == 1 and shares[having[0]] >= SHARE:
            found.setdefault((having[0], round(shares[having[0]], 3)), []).append(name)
    for (sample, share), names in found.items():
        others = ", ".join(one.sample for one in seen if one.sample != sample)
        yield (
            f"{_features(names)} missing in {_percent(share)} of the events of {sample}, and in none of {others}; networks tell "
            "samples apart by that alone, so make sure that it means the same in all of them"
        )


def _still(seen: Sequence[FeatureFacts]) -> Iterable[str]:
    """Warn of features that are the same in all events."""
    for name in seen[0].names if seen else ():
        own = [(one.least[k], one.most[k]) for one in seen if name in one.names for k in [one.names.index(name)]]
        low, high = min(a for a, _ in own), max(b for _, b in own)
        if low == high:
            yield f'feature "{name}" is {low:g} in all events; nothing can be learned from it, so leave it out of features.names'
        elif low > high:
            yield f'feature "{name}" is missing in all events; leave it out of features.names'


def _features(names: Sequence[str]) -> str:
    shown = ", ".join(f'"{name}"' for name in names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
    return f"feature {shown} is" if len(names) == 1 else f"features {shown} are"


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share < 0.1 else f"{100 * share:.0f} %"


def columns(seen: Sequence[FeatureFacts], wanted: Wanted) -> tuple[int, int]:
    """Count the columns that networks get of features and of particles, as far as the events that were looked at tell."""
    nominal = [one for one in seen if not one.varied and one.sample != OBSERVED and len(one.portion.x)]
    if not nominal:
        return 0, 0
    widest = max(nominal, key=lambda one: len(one.names))
    portions = [one.portion for one in nominal if one.names == widest.names]
    jets = [one.particles for one in nominal if one.particles]
    made = fitting.fit(portions, widest.names, wanted).outputs
    if not jets:
        return made, 0
    return made, fitting.fit([portion for _, portion in jets], jets[0][0], wanted, particles=True).outputs
