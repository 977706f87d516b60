"""Ratios, trainings, ensembles and the thresholds of diagnostics."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from needle_parsl.analysis import catalogue
from needle_parsl.analysis.rules.common import known_as, parsed, refers
from needle_parsl.analysis.tables import TRAINER

if TYPE_CHECKING:
    from needle_parsl.analysis.rules.common import Complain
    from needle_parsl.analysis.tables import Analysis, Training


def check(analysis: Analysis, complain: Complain) -> None:
    """Check what is learned."""
    for part in (_diagnostics, _training, _ensemble, _ratios):
        part(analysis, complain)


def _diagnostics(analysis: Analysis, complain: Complain) -> None:
    for name, (warning, fail) in asdict(analysis.diagnostics).items():
        if (fail > warning) if name == "p_value" else (fail < warning):
            order = "smaller" if name == "p_value" else "larger"
            complain(
                f"diagnostics.{name}",
                f"found [{warning:g}, {fail:g}], expected [warning, fail] with the {order} one last",
            )


def _training(analysis: Analysis, complain: Complain) -> None:
    if analysis.training.members == ():
        complain("training.members", "is empty; give a number, or a table for each kind of member")
    for key, table in analysis.training.each():
        _table(replace(analysis, training=table), key, complain)
    loss = catalogue.loss(analysis.training.loss)
    if analysis.training.loss not in catalogue.LOSSES:
        _own_loss(analysis, complain)
    if loss.joint:
        _joint(analysis, complain)
    if loss.classes:
        _classes(analysis, complain)


def _table(analysis: Analysis, table: str, complain: Complain) -> None:
    """Check the settings of some members, those of the key `table`."""
    name, _ = analysis.training.architecture()
    key = f"{table}.network"
    if not name:
        complain(key, 'has no "_target_"; name the class, as in { _target_ = "physics.py:Name" }')
    elif ":" in name:
        refers(analysis, name, key, complain)
    elif "." not in name:
        known_as(name, catalogue.NETWORKS, "network", key, complain)
    network = catalogue.network(name)
    if network.surrogate:
        complain(
            key,
            f'"{name}" is for joint variations of a sample, for which needle takes it by itself; choose another network',
        )
    if network.densities and analysis.training.dropout:
        complain(f"{table}.dropout", "has no meaning for a flow, whose layers cannot be left out; leave the key out")
    if network.particles and not analysis.features.particles:
        complain(key, f"{name} is a network of particles; name them in [features] particles")
    _own(analysis, table, complain)


def _own(analysis: Analysis, table: str, complain: Complain) -> None:
    """Check what is said of a network of the user's."""
    training = analysis.training
    for name in training.trainer:
        known_as(name, TRAINER, "argument of lightning.Trainer that can be given", f"training.trainer.{name}", complain)
    said = {"output": training.output != "logit", "batch": training.batch != "tuple", "trainer": bool(training.trainer)}
    for key in (key for key, other in said.items() if other and not training.own_networks()):
        complain(
            f"{table}.{key}",
            f"is for a network of your own, and {training.architecture()[0]} is needle's; leave it out",
        )


def _own_loss(analysis: Analysis, complain: Complain) -> None:
    """Check what contradicts a loss of the user's."""
    loss = analysis.training.loss or ""
    refers(analysis, loss, "training.loss", complain)
    if loss and _densities(analysis.training):
        complain("training.loss", f"{loss} has no meaning for a flow, which is fitted to the events of each class")


def _densities(training: Training) -> bool:
    """Whether some members learn densities, by a loss of their own."""
    return any(catalogue.network(table.architecture()[0]).densities for _, table in training.each())


def _classes(analysis: Analysis, complain: Complain) -> None:
    """Check what contradicts a network of many classes."""
    training = analysis.training
    if _densities(training):
        complain("training.loss", "multiclass has no meaning for a flow, which holds two densities")
    if training.metrics:
        complain("training.metrics", "are those of one ratio, and multiclass learns all at once; leave them out")
    for key, table in training.each():
        if table.label_smoothing:
            complain(f"{key}.label_smoothing", "is for two classes; leave it out with multiclass")


def _joint(analysis: Analysis, complain: Complain) -> None:
    """Check what contradicts a loss that has no labels."""
    training, loss = analysis.training, analysis.training.loss
    if not analysis.ratios.joint:
        complain(
            "training.loss",
            f"{loss} learns the joint {catalogue.loss(loss).joint} of events, and [ratios] joint names none",
        )
    if _densities(training):
        complain("training.loss", f"{loss} has no meaning for a flow, which is fitted to the events of each class")
    if training.metrics:
        complain("training.metrics", f"need the class of each event, which {loss} does not see; leave them out")
    for key, table in training.each():
        if catalogue.loss(loss).below and table.label_smoothing:
            complain(f"{key}.label_smoothing", f"has no meaning with {loss}, which has no labels")


def _mixed(analysis: Analysis, complain: Complain) -> None:
    """Check what contradicts an ensemble whose members differ."""
    training, asked = analysis.training, analysis.bootstrap
    mixed = isinstance(training.members, tuple) and training.count() > 0
    if mixed and asked and (asked.members or 0) % training.count():
        complain(
            "bootstrap.members",
            f"is no multiple of {training.count()}, so that replicas would be mixed otherwise than the ensemble; leave it out",
        )
    names, combine = {table.architecture()[0] for _, table in training.each()}, analysis.ensemble.combine
    if catalogue.combiner(combine).by_loss and len(names) > 1 and (training.own_networks() or _densities(training)):
        complain(
            "ensemble.combine",
            f"{combine} compares validation losses, which a flow and a network of your own may define otherwise than the rest "
            "of a mixed ensemble; choose another combine",
        )


def _ensemble(analysis: Analysis, complain: Complain) -> None:
    _mixed(analysis, complain)
    ensemble = analysis.ensemble
    for own in ensemble.own_code():
        refers(analysis, own, "ensemble.combine", complain)
    if catalogue.combiner(ensemble.combine).fitted and ensemble.calibration != catalogue.NO_CALIBRATION:
        complain(
            "ensemble.calibration",
            f'has no meaning with combine = "{ensemble.combine}", whose weights are a calibration already, and would break their covariance; '
            'say "none", or choose another combine',
        )


def _ratios(analysis: Analysis, complain: Complain) -> None:
    if analysis.binned:
        return
    if not (analysis.ratios.reference or analysis.ratios.targets):
        complain("ratios", "is missing; expected a table, or binned regions in [model.regions] alone")
        return
    for part, names in (("reference", analysis.ratios.reference), ("targets", analysis.ratios.targets)):
        if not names:
            complain(f"ratios.{part}", "is empty; name at least one sample")
        for name in names:
            known_as(name, analysis.samples, "sample", f"ratios.{part}", complain)
    learned = [name for name in analysis.ratios.targets if not analysis.reference_of(name)]
    learned += [
        f"{name}.{nuisance}.{side}"
        for name, nuisance, side, _ in analysis.varied()
        if nuisance not in analysis.samples[name].crossed()
    ]
    for name, text in analysis.ratios.joint.items():
        known_as(name, learned, "ratio that is learned", f"ratios.joint.{name}", complain)
        parsed(text, f"ratios.joint.{name}", complain)
