"""What a measure works with: the model, both splits of the data, and who judges."""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from torch import Tensor

from zoo import cards
from zoo.data import Dataset
from zoo.features import Backbone, Statistics
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
        inputs = self.test.inputs
        given = self.images(self.test) if inputs is None else inputs.float() / 255
        return self.model.translate(given[:n], prepared=inputs is not None, seed=self.seed, **self.asked).tensor

    def seen(self, dataset: Dataset, n: int | None = None) -> Tensor:
        """Features of the first n real images of a split, prepared as the backbone wants them."""
        assert self.backbone is not None
        return self.backbone(self.images_like(self.samples, self.prepared.get(dataset.split, dataset), n))

    def given(self, dataset: Dataset, method: str) -> dict[str, Any]:
        """The data set's own labels as conditions of a method that takes them."""
        taken = self.model.conditions_of(method)
        return {"label": dataset.labels} if "label" in taken and dataset.labels is not None else {}

    def images(self, dataset: Dataset) -> Tensor:
        """(n, c, h, w) in [0, 1] as the model takes them; binary images are one fixed draw per seed and split."""
        x = dataset.images.float() / 255
        return binary_draw(x, dataset.split, self.seed) if self.model.preparation.binarize else x

    def images_like(self, made: Tensor, dataset: Dataset, n: int | None = None) -> Tensor:
        """What samples are compared with: means of binary pixels with grey values, draws of them with draws."""
        x = dataset.images[:n].float() / 255
        return binary_draw(x, dataset.split, self.seed) if is_binary(made) else x

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


def is_binary(x: Tensor) -> bool:
    return bool(((x == 0) | (x == 1)).all())


def binary_draw(x: Tensor, split: str, seed: int) -> Tensor:
    """One fixed Bernoulli draw of grey values (n, c, h, w), for each split and seed."""
    # A stream of its own: with the seed's, pixels would share their randomness with latents and between splits.
    stream = hashlib.sha256(f"binarize {split} {seed}".encode()).digest()[:8]
    return (Noise(int.from_bytes(stream), 0, len(x)).uniform(*x.shape[1:]) < x).float()


def rounded(value: float) -> float:
    """Five significant digits, as figures have them: more would only change from machine to machine."""
    return float(f"{value:.5g}")
