"""Measures what only a CVAE-GAN can do: whether swaps work, whether z tells the class, and how good C is."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import zoo

MAX_PROBED = 20_000
"""Most training images that the probe is fitted on."""
RIDGE = 1e-3
"""Penalty of the probe, as a share of the mean square of its inputs."""


def evaluate(bench: zoo.Bench) -> list[zoo.Metric]:
    """C's accuracy, how much z tells of the class and, if there is a scoring classifier, the accuracy of swaps."""
    found = [classifier_accuracy(bench), class_leakage(bench)]
    return found if bench.judge is None else [*found, swap_accuracy(bench, bench.judge)]


def classifier_accuracy(bench: zoo.Bench) -> zoo.Metric:
    """The share of test images whose class the model's own C finds."""
    x, y = bench.images(bench.test), bench.given(bench.test, "encode")["label"]
    right = bench.model.infer(x, batch_size=256)["label"].argmax(1) == y
    protocol = "the most probable class by the model's own C, which learns beside E, G and D"
    return bench.metric("classifier_accuracy", right.float(), "higher", protocol)


def class_leakage(bench: zoo.Bench) -> zoo.Metric:
    """How well a linear map of z tells the class. At chance, z does not know it, and a swap can keep all of z."""
    k = len(bench.model.config.names)
    (z, y), (unseen, truth) = latents(bench, bench.train, MAX_PROBED), latents(bench, bench.test, len(bench.test))
    right = (with_one(unseen) @ linear_probe(z, y, k)).argmax(1) == truth
    chance = truth.bincount().max().item() / len(truth)
    protocol = f"ridge regression of the class on the posterior's mean, fitted on {len(z)} random training images"
    return bench.metric("class_leakage", right.float(), "lower", protocol, baseline=f"commonest class: {chance:.4g}")


def swap_accuracy(bench: zoo.Bench, judge: zoo.Model) -> zoo.Metric:
    """Test images are decoded from their own latent with another class. This is the share in which the scoring
    classifier sees the other class."""
    x, y, k = bench.images(bench.test), bench.given(bench.test, "encode")["label"], len(bench.model.config.names)
    wanted = (y + 1 + torch.arange(len(y)) % (k - 1)) % k
    swapped = bench.model.swap(x, source={"label": y}, label=wanted)
    right = judge.infer(swapped.tensor, batch_size=256)["label"].argmax(1) == wanted
    protocol = f"every test image once, the other classes taking turns; judged by {judge.name}"
    ceiling = bench.hit_rates[wanted].mean().item()
    return bench.metric("swap_accuracy", right.float(), "higher", protocol, ceiling=ceiling)


def latents(bench: zoo.Bench, data: Any, n: int) -> tuple[Tensor, Tensor]:
    """z of n random images, encoded with their own classes, (n, latent_dim); and these classes, (n,)."""
    rows = bench.some(data, n)
    x, y = bench.images(data)[rows], bench.given(data, "encode")["label"][rows]
    z = bench.model.encode(x, batch_size=256, label=y)
    return z[:, : bench.model.config.latent_dim], y  # without the class, which `encode` puts beside z


def linear_probe(z: Tensor, y: Tensor, classes: int) -> Tensor:
    """(d + 1, classes): the least-squares map of z and a constant to one-hot classes, with a small penalty."""
    inputs = with_one(z)
    gram = inputs.T @ inputs
    penalty = RIDGE * gram.diagonal().mean() * torch.eye(len(gram))
    return torch.linalg.solve(gram + penalty, inputs.T @ F.one_hot(y, classes).float())


def with_one(z: Tensor) -> Tensor:
    return torch.cat([z, z.new_ones(len(z), 1)], 1)
