"""What a measure works with: the model, both splits of the data, the scoring classifier and the backbones."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from zoo.card import facts as cards
from zoo.data.source import Dataset
from zoo.evaluation.features import Backbone, Statistics
from zoo.images.prepare import binary_draw, is_binary
from zoo.model import Model
from zoo.noise import seed_for

MAX_SAMPLES = 2000
"""Largest number of generated images that a distance between sets uses."""


@dataclass(frozen=True)
class Bench:
    """Everything that a measure may use. A family's `evaluate` is given one too."""

    model: Model
    test: Dataset
    train: Dataset
    data: str
    seed: int
    progress: bool
    judge: Model | None = None
    """The scoring classifier, if the recipe names one. It was trained apart from the model; `infer` classifies."""
    backbone: Backbone | None = None
    """The network whose features compare sets of images."""
    second: Backbone | None = None
    """Another network for the distances, so that they do not depend on one network alone."""
    shipped: Mapping[str, Statistics] = field(default_factory=dict)
    """Moments of real images that come with the backbone's card, by kind of image."""
    prepared: Mapping[str, Dataset] = field(default_factory=dict)
    """The data prepared for the backbone, by split, if it prepares images in another way than the model."""
    asked: Mapping[str, Any] = field(default_factory=dict)
    """Conditions of a translator's translations, if they are measured as a set."""

    @cached_property
    def samples(self) -> Tensor:
        """The model's samples, or its translations of test images, (n, c, h, w) in [0, 1]. They are made only once.

        n is the number of test images, at most MAX_SAMPLES.
        """
        n = min(len(self.test), MAX_SAMPLES)
        if "sample" in self.model.spec.capabilities:
            return draw(self.model, n, self.seed, self.progress)
        inputs, rows = self.test.inputs, self.some(self.test, n)
        given = self.images(self.test)[rows] if inputs is None else inputs[rows].float() / 255
        return self.model.translate(given, prepared=inputs is not None, seed=self.seed, **self.asked).tensor

    def some(self, dataset: Dataset, n: int | None) -> Tensor:
        """Row numbers of n random images of a split, in order. A seed always gives the same ones. If n is None, or the
        split has no more images, these are all of them.

        The first n would not do: a data set may be sorted.
        """
        if n is None or n >= len(dataset):
            return torch.arange(len(dataset))
        draws = torch.Generator().manual_seed(seed_for(f"rows {dataset.split} {self.seed}"))
        return torch.randperm(len(dataset), generator=draws)[:n].sort().values

    def seen(self, dataset: Dataset, backbone: Backbone, n: int | None = None) -> Tensor:
        """Features (n, d) of n random real images of a split, prepared for the first backbone."""
        return backbone(self.images_like(self.samples, self.prepared.get(dataset.split, dataset), n))

    def given(self, dataset: Dataset, method: str) -> dict[str, Any]:
        """The labels of the data set as conditions of a method; empty if the method takes no `label`."""
        taken = self.model.conditions_of(method)
        return {"label": dataset.labels} if "label" in taken and dataset.labels is not None else {}

    def images(self, dataset: Dataset) -> Tensor:
        """Images (n, c, h, w) in [0, 1] for the model. Binary images are one fixed draw for each seed and split."""
        x = dataset.images.float() / 255
        return binary_draw(x, dataset.split, self.seed) if self.model.preparation.binarize else x

    def images_like(self, made: Tensor, dataset: Dataset, n: int | None = None) -> Tensor:
        """n random real images to compare samples with. If the samples are binary, they are drawn from grey values."""
        rows = self.some(dataset, n)
        if is_binary(made):
            return binary_draw(dataset.images.float() / 255, dataset.split, self.seed)[rows]
        return dataset.images[rows].float() / 255

    @cached_property
    def hit_rates(self) -> Tensor:
        """(k,): for each class, the share of its real test images in which the scoring classifier sees it.

        It is 0 for a class without test images. No model that is asked for a class can be expected to do better.
        """
        assert self.judge is not None
        assert self.test.labels is not None
        told = self.judge.config.names
        names = self.test.names if set(self.test.names) <= set(told) else ()
        columns = torch.tensor([told.index(name) for name in names or told])
        seen = self.judge.infer(self.test.images.float() / 255, batch_size=256)["label"].argmax(1)
        right = (seen == columns[self.test.labels]).float()
        hits, counts = (torch.bincount(self.test.labels, w, minlength=len(columns)) for w in (right, None))
        return hits / counts.clamp_min(1)

    def metric(self, name: str, values: Tensor | float, better: str, protocol: str, **more: Any) -> cards.Metric:
        """A Metric with one value; or with the mean of values (n,), one for each image, and its standard error."""
        if isinstance(values, Tensor):
            n = len(values)
            values, error = mean_and_error(values.double())
            more = {"uncertainty": error, "n": n} | more
        more = {"n": len(self.test), "unit": ""} | more
        return cards.Metric(
            name=name,
            value=rounded(values),
            better=better,
            protocol=protocol,
            data=self.data,
            split="test",
            seed=self.seed,
            **{key: rounded(value) if isinstance(value, float) else value for key, value in more.items()},
        )


def mean_and_error(values: Tensor) -> tuple[float, float | None]:
    """The mean of values (n,), and its standard error: None for a single value."""
    error = (values.std() / math.sqrt(len(values))).item() if len(values) > 1 else None
    return values.mean().item(), error


def draw(model: Model, n: int, seed: int, progress: bool = False) -> Tensor:
    """The n samples that figures are measured on, (n, c, h, w) in [0, 1]."""
    return model.sample(n, seed=seed, progress=progress).tensor


def rounded(value: float) -> float:
    """The value with five significant digits, like all figures. More digits would differ between machines."""
    return float(f"{value:.5g}")
