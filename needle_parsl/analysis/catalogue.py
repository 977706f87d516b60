"""What an analysis may name: losses, networks, optimisers, schedules, metrics, combiners, calibrations; and the engines.

The only list of each. An entry has the reference of what it is, by which that is found when it is needed, and the facts that others ask for;
nobody compares its name. What an analysis names of the user's own is an entry, too: that of its reference, with the facts of any such thing.
Needs nothing but the standard library.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

_TRAINING = "needle_parsl.nsbi.training"
_ESTIMATORS = "needle_parsl.nsbi.estimators"
_EXPORTING = f"{_ESTIMATORS}.exporting"
YOURS = "yours"
"""What an entry of the user's own means."""


def found(reference: str) -> Any:
    """Import what a reference of an entry names."""
    module, _, name = reference.partition(":")
    return getattr(import_module(module), name)


@dataclass(frozen=True)
class CatalogueEntry:
    """What a name stands for."""

    reference: str
    """`module:name` of the function or class; `physics.py:name` of the user's."""
    meaning: str
    """What it is, for the documentation."""

    def load(self) -> Any:
        """Import it: one of needle's."""
        return found(self.reference)


@dataclass(frozen=True, kw_only=True)
class Loss(CatalogueEntry):
    """What is minimised. A function of logits, labels and weights of shape (N,), that gives one number."""

    joint: str = ""
    """What of `[ratios] joint` its labels are: a `score` or a `ratio`; empty for labels that are classes."""
    classes: bool = False
    """Whether it learns all samples at once, from logits of shape (N, C) and numbers of classes."""
    below: bool = False
    """Whether it sees events of the denominator alone."""
    compiled: str = ""
    """Reference of the loss of compiled code that is the same; empty where there is none."""

    @property
    def soft(self) -> bool:
        """Whether its labels are probabilities, and events of both classes have one."""
        return self.joint == "score"


@dataclass(frozen=True, kw_only=True)
class Network(CatalogueEntry):
    """An architecture. A class that is given `features`, `layers` and `nodes`, and gives logits of shape (N,)."""

    classifier: bool = False
    """Whether it may have an output for each class, and takes the sizes, lengths and dropout that needle recommends."""
    particles: bool = False
    """Whether it needs particles."""
    densities: bool = False
    """Whether it learns two densities, by a loss of its own, and has no hidden units that could be dropped."""
    compiled: bool = False
    """Whether compiled code trains it, if its loss and optimiser are compiled, too."""
    surrogate: bool = False
    """Whether it is that of joint variations, which needle takes by itself."""
    extra: str = ""
    """What must be installed for it."""


@dataclass(frozen=True, kw_only=True)
class Schedule(CatalogueEntry):
    """How the learning rate changes over the epochs. Takes the optimiser, and the epochs after which a training may end."""

    vanishing: bool = False
    """Whether steps vanish at the end, so that the last epochs are the best, and nothing is gained by stopping before."""


@dataclass(frozen=True, kw_only=True)
class SearchMetric(CatalogueEntry):
    """What a search may decide by."""

    larger: bool = False
    """Whether larger is better."""
    several: bool = False
    """Whether it needs more than one replica."""
    labels: bool = True
    """Whether it needs labels that are classes."""
    fitted: bool = False
    """Whether it needs a model, all processes of which one network tells apart."""
    networks: bool = False
    """Whether it is of networks one by one, before an ensemble is made of them."""
    lacking: str = ""
    """When it is no number, although the networks have trained."""


@dataclass(frozen=True, kw_only=True)
class Sampler(CatalogueEntry):
    """How a search chooses settings: a class of `optuna.samplers`, by its name."""

    adaptive: bool = False
    """Whether it learns from what was seen."""
    numbers: bool = False
    """Whether it knows numbers alone, and one metric."""


@dataclass(frozen=True, kw_only=True)
class Combiner(CatalogueEntry):
    """How members become one ratio. Takes their log ratios (M, N) and coefficients (M,), and gives ln r, (N,)."""

    by_loss: bool = False
    """Whether coefficients follow from validation losses, and are not equal."""
    fallback: str = ""
    """Of one whose coefficients are fitted, and have a covariance: the combiner where they cannot be had."""
    onnx: str = ""
    """Reference of what adds it to an ONNX graph; empty for one that cannot be exported."""
    torch: str = ""
    """Reference of the same in torch, of (N, M) and (M,)."""

    @property
    def fitted(self) -> bool:
        """Whether coefficients are fitted to events that trained nothing."""
        return bool(self.fallback)


@dataclass(frozen=True, kw_only=True)
class Calibration(CatalogueEntry):
    """A map of ln r of the combined members. Takes ln r, labels and weights of both classes, each (N,)."""

    straight: bool = False
    """Whether it is a line from point to point, and no steps."""
    extra: str = ""
    """What must be installed for it."""


@dataclass(frozen=True, kw_only=True)
class KnownEngine(CatalogueEntry):
    """What does the arithmetic of a training; chosen by needle."""

    compiled: bool = False
    """Whether it is code that numba compiles, from a plan of what the module does."""
    together: bool = False
    """Whether it trains all members of a pack at once."""
    foreign: bool = False
    """Whether lightning.Trainer itself trains."""
    speed: tuple[tuple[int, float], ...] = ()
    """Nodes, and how many times as fast as a loop over lightning.Trainer in a warm process it is up to there (docs/benchmarks.md)."""


_SEARCH = "needle_parsl.nsbi.search.metrics"
_KERNELS = f"{_TRAINING}.kernels.passes"
LOSSES: Mapping[str, Loss] = {
    "carl": Loss(
        f"{_TRAINING}.losses:carl", "weighted binary cross-entropy (arXiv:1506.02169)", compiled=f"{_KERNELS}:BCE"
    ),
    "mlc": Loss(
        f"{_TRAINING}.losses:mlc", "symmetrised maximum-likelihood loss (arXiv:1806.02350)", compiled=f"{_KERNELS}:MLC"
    ),
    "alice": Loss(
        f"{_TRAINING}.losses:alice",
        "cross-entropy with the joint score (arXiv:1808.00973)",
        joint="score",
        compiled=f"{_KERNELS}:BCE",
    ),
    "regression": Loss(
        f"{_TRAINING}.losses:regression",
        "squared error to the joint ratio (arXiv:1805.12244)",
        joint="ratio",
        below=True,
    ),
    "multiclass": Loss(
        f"{_TRAINING}.losses:multiclass",
        "softmax cross-entropy of all samples at once",
        classes=True,
        compiled=f"{_KERNELS}:SOFTMAX",
    ),
}
NETWORKS: Mapping[str, Network] = {
    "mlp": Network(f"{_TRAINING}.networks:MLP", "multilayer perceptron", classifier=True, compiled=True),
    "deepset": Network(
        f"{_TRAINING}.particles:DeepSet", "deep set of particles (arXiv:1703.06114)", classifier=True, particles=True
    ),
    "transformer": Network(
        f"{_TRAINING}.particles:Transformer",
        "self-attention among particles (arXiv:1706.03762)",
        classifier=True,
        particles=True,
    ),
    "flow": Network(
        f"{_TRAINING}.flows:FlowRatio",
        "two densities, each a neural spline flow (arXiv:1906.04032)",
        densities=True,
        extra="flows",
    ),
    "quadratic": Network(
        f"{_TRAINING}.quadratic:Quadratic",
        "of joint variations, for which needle takes it: ln g is a quadratic form in nuisance parameters (arXiv:2505.05544)",
        surrogate=True,
    ),
}
OPTIMIZERS: Mapping[str, CatalogueEntry] = {
    "adamw": CatalogueEntry(f"{_TRAINING}.optimizers:adamw", "Adam with decoupled weight decay (arXiv:1711.05101)"),
    "adam": CatalogueEntry(f"{_TRAINING}.optimizers:adam", "Adam (arXiv:1412.6980)"),
    "nadam": CatalogueEntry(f"{_TRAINING}.optimizers:nadam", "Adam with Nesterov's momentum"),
    "sgd": CatalogueEntry(f"{_TRAINING}.optimizers:sgd", "gradient descent with momentum 0.9"),
}
"""Each takes parameters, learning rate and weight decay."""
SCHEDULES: Mapping[str, Schedule] = {
    "constant": Schedule(f"{_TRAINING}.optimizers:constant", "the same learning rate in all epochs"),
    "cosine": Schedule(
        f"{_TRAINING}.optimizers:cosine", "half a cosine, to 0 in the last epoch (arXiv:1608.03983)", vanishing=True
    ),
    "plateau": Schedule(
        f"{_TRAINING}.optimizers:plateau", "times 0.3 after two epochs without a better validation loss"
    ),
}
METRICS: Mapping[str, CatalogueEntry] = {
    "closure_chi2": CatalogueEntry(f"{_TRAINING}.metrics:closure_chi2", "chi2 / ndf of the reweighted features"),
    "wasserstein": CatalogueEntry(
        f"{_TRAINING}.metrics:wasserstein", "Wasserstein distance of the reweighted features"
    ),
    "ece": CatalogueEntry(f"{_TRAINING}.metrics:ece", "expected calibration error"),
    "mce": CatalogueEntry(f"{_TRAINING}.metrics:mce", "maximum calibration error"),
}
"""Each takes validation events with the log ratio of a member, and gives a number."""
_ONNX, _TORCH, _ENSEMBLES = f"{_EXPORTING}.aggregation", f"{_EXPORTING}.torch_file", f"{_ESTIMATORS}.ensembles"
SEARCH_METRICS: Mapping[str, SearchMetric] = {
    "val_loss": SearchMetric(f"{_SEARCH}:val_loss", "loss on the validation events", labels=False, networks=True),
    "closure_chi2": SearchMetric(f"{_SEARCH}:closure_chi2", "chi2 / ndf of the reweighted features"),
    "wasserstein": SearchMetric(
        f"{_SEARCH}:wasserstein",
        "Wasserstein distance of the reweighted features",
        lacking="since there is none of events with negative weights",
    ),
    "ece": SearchMetric(f"{_SEARCH}:ece", "expected calibration error"),
    "mce": SearchMetric(f"{_SEARCH}:mce", "maximum calibration error"),
    "auc": SearchMetric(f"{_SEARCH}:auc", "area under the ROC curve of the score; larger is better", larger=True),
    "normalisation": SearchMetric(f"{_SEARCH}:normalisation", "distance of the mean of r over the reference from 1"),
    "spread": SearchMetric(
        f"{_SEARCH}:spread", "standard deviation of ln r between replicas", several=True, labels=False, networks=True
    ),
    "expected_error": SearchMetric(
        f"{_SEARCH}:expected_error",
        "error of the parameter of interest in a fit of the validation events, with the scatter of the ensemble",
        fitted=True,
    ),
    "expected_bias": SearchMetric(
        f"{_SEARCH}:expected_bias", "distance of that fit from the nominal value", fitted=True
    ),
}
"""Each takes the replicas of a trial with validation events, and gives a number for each."""
SAMPLERS: Mapping[str, Sampler] = {
    "tpe": Sampler("TPESampler", "tree-structured Parzen estimators", adaptive=True),
    "random": Sampler("RandomSampler", "random numbers"),
    "grid": Sampler("", "every combination, in order"),
    "cmaes": Sampler(
        "CmaEsSampler", "evolution of a covariance matrix (arXiv:1604.00772)", adaptive=True, numbers=True
    ),
    "qmc": Sampler("QMCSampler", "a quasi-random sequence"),
}
COMBINERS: Mapping[str, Combiner] = {
    "mean_ratio": Combiner(
        f"{_ENSEMBLES}:mean_ratio",
        "ln of the mean ratio",
        onnx=f"{_ONNX}:mean_ratio",
        torch=f"{_TORCH}:mean_ratio",
    ),
    "mean_score": Combiner(
        f"{_ENSEMBLES}:mean_score",
        "ln of the odds of the mean score",
        onnx=f"{_ONNX}:mean_score",
        torch=f"{_TORCH}:mean_score",
    ),
    "mean_log": Combiner(
        f"{_ENSEMBLES}:mean_log", "mean of the logarithms", onnx=f"{_ONNX}:mean_log", torch=f"{_TORCH}:mean_log"
    ),
    "median_ratio": Combiner(
        f"{_ENSEMBLES}:median_ratio",
        "ln of the median ratio",
        onnx=f"{_ONNX}:median_ratio",
        torch=f"{_TORCH}:median_ratio",
    ),
    "weighted": Combiner(
        f"{_ENSEMBLES}:mean_ratio",
        "ln of the mean ratio, weighted by the inverse validation loss",
        by_loss=True,
        onnx=f"{_ONNX}:mean_ratio",
        torch=f"{_TORCH}:mean_ratio",
    ),
    "wifi": Combiner(
        f"{_ENSEMBLES}:mean_log",
        "sum of the logarithms with fitted weights, which have a covariance (arXiv:2506.00113)",
        fallback="mean_log",
        onnx=f"{_ONNX}:mean_log",
        torch=f"{_TORCH}:mean_log",
    ),
}
CALIBRATIONS: Mapping[str, Calibration] = {
    "histogram": Calibration(
        f"{_ESTIMATORS}.calibrations:histogram", "fraction of numerator events in bins of the score"
    ),
    "isotonic": Calibration(
        f"{_ESTIMATORS}.calibrations:isotonic",
        "the same by the nearest rising function",
        straight=True,
        extra="calibration",
    ),
}
NO_CALIBRATION = "none"
"""Stands where a calibration could."""
ENGINES: Mapping[str, KnownEngine] = {
    "native": KnownEngine(
        f"{_TRAINING}.engines.native:Native",
        "compiled code, one member at a time",
        compiled=True,
        speed=((64, 12.0), (128, 5.0), (256, 2.0)),
    ),
    "sequential": KnownEngine(
        f"{_TRAINING}.engines.sequential:MemberEngine",
        "torch, one member after the other",
        speed=((64, 6.0), (128, 3.0), (256, 1.5)),
    ),
    "stacked": KnownEngine(
        f"{_TRAINING}.engines.stacked:Stacked", "torch.func, all members of a pack at once", together=True
    ),
    "lightning": KnownEngine(
        f"{_TRAINING}.engines.lightning_trainer:run", "lightning.Trainer in the same worker", foreign=True
    ),
}
NATIVE, SEQUENTIAL, STACKED, LIGHTNING = ENGINES
TWO_CLASSES, ALL_CLASSES = "carl", "multiclass"
"""Losses where an analysis says nothing: of a ratio, and of all ratios at once."""


def loss(name: str | None) -> Loss:
    """Give what is known of a loss; of the user's, and where none is said yet, that it has labels of two classes."""
    return LOSSES.get(name or "") or Loss(name or "", YOURS)


def network(name: str) -> Network:
    """Give what is known of an architecture; of the user's nothing."""
    return NETWORKS.get(name) or Network(name, YOURS)


def combiner(name: str) -> Combiner:
    """Give what is known of a combiner; of the user's nothing."""
    return COMBINERS.get(name) or Combiner(name, YOURS)
