"""What a measure works with: the model, both splits of the data, and who judges."""

import hashlib
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
from zoo.images import is_binary
from zoo.model import Model
from zoo.noise import Noise

MAX_SAMPLES = 2000
"""Generated images that a distance between sets uses at most."""


@dataclass(frozen=True)
class Bench:
    """What every metric may use: the model and both splits, with images in [0, 1]."""

    model: Model
    test: Dataset
    train: Dataset
    data: str
    seed: int
    progress: bool
    judge: Model | None = None
    """A classifier trained apart from the model, if its recipe names one; `infer` gives its verdicts."""
    backbone: Backbone | None = None
    """Whose features compare sets of images."""
    second: Backbone | None = None
    """Whose features measure distances once more, so that they do not hang on what one network has learnt."""
    shipped: Mapping[str, Statistics] = field(default_factory=dict)
    """Moments of its features that the backbone's card ships, by kind of image."""
    prepared: Mapping[str, Dataset] = field(default_factory=dict)
    """By split, the data as the backbone wants them, where that is another size than the model's."""
    asked: Mapping[str, Any] = field(default_factory=dict)
    """Conditions of a translator's translations, where they are measured as a set."""

    @cached_property
    def samples(self) -> Tensor:
        """What the model makes: samples, or translations of test images; made once for all that look at them.

        As many as there are test images, MAX_SAMPLES at most.
        """
        n = min(len(self.test), MAX_SAMPLES)
        if "sample" in self.model.spec.capabilities:
            return draw(self.model, n, self.seed, self.progress)
        inputs, rows = self.test.inputs, self.some(self.test, n)
        given = self.images(self.test)[rows] if inputs is None else inputs[rows].float() / 255
        return self.model.translate(given, prepared=inputs is not None, seed=self.seed, **self.asked).tensor

    def some(self, dataset: Dataset, n: int | None) -> Tensor:
        """Row numbers of n random images of a split, in order: the same ones for a seed. All of them if n is None or
        there are no more.

        Not the first n, which need not be like the others: a set may be sorted.
        """
        if n is None or n >= len(dataset):
            return torch.arange(len(dataset))
        draws = torch.Generator().manual_seed(_stream(f"rows {dataset.split} {self.seed}"))
        return torch.randperm(len(dataset), generator=draws)[:n].sort().values

    def seen(self, dataset: Dataset, backbone: Backbone, n: int | None = None) -> Tensor:
        """Features of n random real images of a split, prepared as the first backbone wants them."""
        return backbone(self.images_like(self.samples, self.prepared.get(dataset.split, dataset), n))

    def given(self, dataset: Dataset, method: str) -> dict[str, Any]:
        """The data set's own labels as conditions of a method that takes them."""
        taken = self.model.conditions_of(method)
        return {"label": dataset.labels} if "label" in taken and dataset.labels is not None else {}

    def images(self, dataset: Dataset) -> Tensor:
        """(n, c, h, w) in [0, 1] as the model takes them; binary images are one fixed draw per seed and split."""
        x = dataset.images.float() / 255
        return binary_draw(x, dataset.split, self.seed) if self.model.preparation.binarize else x

    def images_like(self, made: Tensor, dataset: Dataset, n: int | None = None) -> Tensor:
        """What samples are compared with, n random ones: means of binary pixels with grey values, draws with draws."""
        rows = self.some(dataset, n)
        if is_binary(made):
            return binary_draw(dataset.images.float() / 255, dataset.split, self.seed)[rows]
        return dataset.images[rows].float() / 255

    @cached_property
    def hit_rates(self) -> Tensor:
        """(k,): of the real test images of each class, the share that the judge sees in it; 0 for a class without any.

        No model that is asked for a class can be expected to do better.
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
        """A Metric of one value, or of the mean of one value per image with its standard error."""
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
    """With its standard error, which one value does not have."""
    error = (values.std() / math.sqrt(len(values))).item() if len(values) > 1 else None
    return values.mean().item(), error


def draw(model: Model, n: int, seed: int, progress: bool = False) -> Tensor:
    """The samples that figures are measured on."""
    return model.sample(n, seed=seed, progress=progress).tensor


def binary_draw(x: Tensor, split: str, seed: int) -> Tensor:
    """One fixed Bernoulli draw of grey values (n, c, h, w), for each split and seed."""
    # A stream of its own: with the seed's, pixels would share their randomness with latents and between splits.
    return (Noise(_stream(f"binarize {split} {seed}"), 0, len(x)).uniform(*x.shape[1:]) < x).float()


def _stream(what: str) -> int:
    """A seed for one use, which shares no numbers with those of the others."""
    return int.from_bytes(hashlib.sha256(what.encode()).digest()[:8])


def rounded(value: float) -> float:
    """Five significant digits, as figures have them: more would only change from machine to machine."""
    return float(f"{value:.5g}")
