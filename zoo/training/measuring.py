"""What a run measures while it trains, on images that no step sees: the test split, or the images held out.

It is a bound or a log-likelihood where the family has one. Else it is the Fréchet distance of what the model makes, in
the features of a classifier.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zoo.data.source import Dataset
from zoo.distances import FEWEST, frechet_distance, moments
from zoo.errors import DataError, InputError
from zoo.family.spec import ModelSpec, Recipe
from zoo.images.prepare import binary_draw, fit
from zoo.model import Model, load
from zoo.training.best import Figure
from zoo.training.plan import Plan
from zoo.training.result import handle

MOST = 1000
"""Images that are measured at most."""
SEED = 0
"""Seed of all that is drawn. It is always the same, so that two values differ by the weights alone."""
BATCH = 256


def figure_of(
    spec: ModelSpec,
    recipe: Recipe,
    todo: Plan,
    images: Dataset | None,
    whence: str,
    *,
    judge: str | Path | None = None,
    device: str = "auto",
) -> Figure:
    """What the run of this plan measures on these images, or on MOST of them.

    images: the test split or those held out, prepared for the model; whence says which. judge: the card whose features
    compare images; by default the recipe's.

    Raises DataError if there are no images or too few, InputError for a family of which nothing can be measured and for
    a judge without features, and NotFoundError for one that is not here.
    """
    if images is None or len(images) == 0:
        raise DataError(
            f"{todo.data} has no test split and no image is held out, so there is nothing to measure on",
            "Of 10 images or more a share can be held out: --set hold_out=0.1. Or leave out --evaluate-every.",
        )
    images = _some(images)
    figure = partial(Figure, images=len(images), whence=whence)
    model_of = partial(handle, spec, todo)
    for method in ("elbo", "log_prob"):  # with both, log_prob is a density, and elbo bounds a probability
        if method in spec.capabilities:
            likelihood = Likelihood(model_of, images, method)
            return figure(f"held_out_{method}", "higher", on=images.fingerprint, of=likelihood)
    eyes = _judge(spec, recipe, todo, judge, device)
    if len(images) < FEWEST:
        raise DataError(
            f"a distance needs {FEWEST} images that no step sees, found {len(images)}",
            "Hold more of them out: --set hold_out=0.2. Or leave out --evaluate-every.",
        )
    on = hashlib.sha256(f"{images.fingerprint} {eyes.sha256}".encode()).hexdigest()
    return figure("held_out_fd", "lower", on=on, of=Distance(model_of, images, eyes))


def _some(images: Dataset) -> Dataset:
    """At most MOST of the images, always the same. The first ones would not do: a data set may be sorted."""
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(SEED))
    return images.rows(order[:MOST].sort().values, images.split)


def _judge(spec: ModelSpec, recipe: Recipe, todo: Plan, judge: str | Path | None, device: str) -> Model:
    """The card whose features compare what the model makes with the images."""
    if "sample" not in spec.capabilities and not _translates_pairs(spec, todo):
        raise InputError(
            f"of {spec.name} nothing is measured during training: it has no log_prob and no elbo, and it neither "
            "samples nor translates pairs",
            "Leave out --evaluate-every.",
        )
    named = judge or recipe.judge
    if not named:
        raise InputError(
            f"the recipe {recipe.name} names no judge, so samples cannot be compared with images",
            "Give the card of a classifier: --judge CARD. Or leave out --evaluate-every.",
        )
    eyes = load(named, device=device)
    if "features" not in eyes.spec.capabilities:
        raise InputError(f"the card {named} has no features", "Give the card of a classifier: --judge CARD")
    return eyes


def _translates_pairs(spec: ModelSpec, todo: Plan) -> bool:
    return "translate" in spec.capabilities and todo.batch == "pairs"


def _unit(images: Tensor) -> Tensor:
    """uint8 images in [0, 1]."""
    return images.float() / 255


def _as_trained(images: Dataset, binarize: bool) -> Tensor:
    """The images in [0, 1]; for a model of binary images one fixed draw of them."""
    x = _unit(images.images)
    return binary_draw(x, images.split, SEED) if binarize else x


@dataclass(frozen=True)
class Likelihood:
    """The mean of a method's nats over the images."""

    model_of: Callable[[nn.Module], Model]
    images: Dataset
    method: str

    def __call__(self, module: nn.Module) -> float:
        model = self.model_of(module)
        x = _as_trained(self.images, model.preparation.binarize)
        given: dict[str, Any] = {"seed": SEED} if self.method == "elbo" else {}
        if self.images.labels is not None and "label" in model.conditions_of(self.method):
            given["label"] = self.images.labels
        nats: Tensor = getattr(model, self.method)(x, batch_size=BATCH, **given)
        return nats.double().mean().item()


class Distance:
    """The Fréchet distance between the images and as many that the model makes, in the features of a judge."""

    def __init__(self, model_of: Callable[[nn.Module], Model], images: Dataset, judge: Model) -> None:
        self.model_of, self.images, self.judge = model_of, images, judge
        self._moments: tuple[Tensor, Tensor] | None = None

    def __call__(self, module: nn.Module) -> float:
        model = self.model_of(module)
        made = self._features(self._made(model))
        return frechet_distance(*moments(made), *self._real(model.preparation.binarize))

    def _made(self, model: Model) -> Tensor:
        """As many samples as there are images; or the translations of their inputs."""
        if "sample" in model.spec.capabilities:
            return model.sample(len(self.images), seed=SEED, batch_size=BATCH).tensor
        inputs = self.images.inputs
        given = _unit(self.images.images if inputs is None else inputs)
        return model.translate(given, prepared=inputs is not None, seed=SEED).tensor

    def _features(self, images: Tensor) -> Tensor:
        p = self.judge.preparation
        return self.judge.features(fit(images, p.size, p.channels), batch_size=BATCH)

    def _real(self, binarize: bool) -> tuple[Tensor, Tensor]:
        """The moments of the images' features, which are computed once."""
        if self._moments is None:
            self._moments = moments(self._features(_as_trained(self.images, binarize)))
        return self._moments
