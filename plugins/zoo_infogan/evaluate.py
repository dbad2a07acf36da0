"""Measures what InfoGAN found without labels: how much of its codes can be read back, and what the categories mean.

Only this file uses labels. Categories are matched with classes on the training split, and the match is tested on the
test split.
"""

import math
from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

import zoo

SAMPLES = 2000
MAX_MATCHED = 10
"""Most classes that are matched one to one: the search takes time and memory of order 2^classes."""
UNMATCHED = -1


def evaluate(bench: zoo.Bench) -> list[zoo.Metric]:
    """Information about the codes; with labels, accuracy as a classifier; with a scoring classifier, purity."""
    found = information(bench)
    if bench.train.labels is not None and bench.test.labels is not None:
        found += accuracy(bench)
    if bench.judge is not None:
        found.append(purity(bench))
    return found


def information(bench: zoo.Bench) -> list[zoo.Metric]:
    """L_I of the category in nats (equations 4 and 5 of the paper), and how well each style can be read back."""
    config, (images, category, style) = bench.model.config, coded_samples(bench)
    codes = bench.model.infer(images, batch_size=256)
    tiny = torch.finfo(torch.float32).tiny
    right = codes["category"][torch.arange(len(category)), category].clamp_min(tiny)
    entropy = math.log(config.categories)
    read = [correlation(style[:, i], codes["style"][:, i]) for i in range(config.styles)]
    each = ", ".join(f"{value:.2f}" for value in read)
    protocol = f"{len(images)} samples, every category equally often, styles uniform on [-1, 1]"
    return [
        bench.metric(
            "category_information",
            entropy + right.double().log(),
            "higher",
            f"lower bound on I(category; image): the category's entropy and the mean of log Q; {protocol}",
            unit="nats",
            baseline=f"all there is: {entropy:.4g}",
        ),
        bench.metric(
            "style_correlation",
            sum(read) / len(read),
            "higher",
            f"of a style and Q's mean, over styles ({each}); {protocol}",
            n=len(images),
        ),
    ]


def accuracy(bench: zoo.Bench) -> list[zoo.Metric]:
    """Q as a classifier of real images, with a class for each category (section 7.2 of the paper: 0.95 on MNIST)."""
    assert bench.train.labels is not None
    assert bench.test.labels is not None
    seen, guess = (
        bench.model.infer(bench.images(split), batch_size=256)["category"].argmax(1)
        for split in (bench.train, bench.test)
    )
    classes = int(bench.train.labels.max()) + 1
    counts = contingency(seen, bench.train.labels, bench.model.config.categories, classes)
    largest = (bench.test.labels == counts.sum(0).argmax()).float().mean()
    return [
        bench.metric(
            f"category_accuracy_{name}",
            (match[guess] == bench.test.labels).float(),
            "higher",
            f"test images whose likeliest category is their class's; {HOW[name]} (on {len(seen)} training images)",
            baseline=f"one class for all: {largest:.4g}",
        )
        for name, match in matches(counts).items()
    ]


def purity(bench: zoo.Bench) -> zoo.Metric:
    """The share of samples in which the scoring classifier sees the class of their category."""
    assert bench.judge is not None
    images, category, _ = coded_samples(bench)
    verdict = bench.judge.infer(images, batch_size=256)["label"]
    seen, classes = verdict.argmax(1), verdict.shape[1]
    counts = contingency(category, seen, bench.model.config.categories, classes)
    how, match = list(matches(counts).items())[-1]
    protocol = (
        f"samples, every category equally often, that {bench.judge.name} sees in their category's class; {HOW[how]}"
    )
    drawn = f"{len(seen.unique())} of {classes} classes are drawn"
    return bench.metric("category_purity", (match[category] == seen).float(), "higher", protocol, baseline=drawn)


def coded_samples(bench: zoo.Bench) -> tuple[zoo.Images, Tensor, Tensor]:
    """Samples, their categories (n,), each equally often, and their styles (n, styles)."""
    config = bench.model.config
    category = torch.arange(SAMPLES) % config.categories
    # Not from the noise of the samples: its numbers are already in z.
    style = 2 * torch.rand(SAMPLES, config.styles, generator=torch.Generator().manual_seed(bench.seed)) - 1
    return bench.model.sample(SAMPLES, seed=bench.seed, category=category, style=style), category, style


def contingency(category: Tensor, label: Tensor, categories: int, classes: int) -> Tensor:
    """(categories, classes): how often each category comes together with each class."""
    return torch.bincount(category * classes + label, minlength=categories * classes).view(categories, classes)


HOW = {
    "majority": "each category stands for the class that is most frequent in it",
    "one_to_one": "categories and classes are matched one to one for the most agreement",
}


def matches(counts: Tensor) -> dict[str, Tensor]:
    """The class of each category, (categories,), for each way to match in HOW."""
    found = {"majority": counts.argmax(1)}
    if counts.shape[1] <= MAX_MATCHED:
        found["one_to_one"] = torch.tensor(one_to_one(counts.tolist()))
    return found


def one_to_one(counts: Sequence[Sequence[int]]) -> list[int]:
    """The class of each category, no class twice, with the largest sum of counts; UNMATCHED if no class is left."""

    @cache
    def best(category: int, free: frozenset[int]) -> tuple[int, tuple[int, ...]]:
        """Sum and classes of the best match of this category and all after it with the free classes."""
        if category == len(counts):
            return 0, ()
        choices = []
        for chosen in (UNMATCHED, *sorted(free)):
            total, others = best(category + 1, free - {chosen})
            choices.append((total + (counts[category][chosen] if chosen >= 0 else 0), (chosen, *others)))
        return max(choices)

    return list(best(0, frozenset(range(len(counts[0]))))[1])


def correlation(a: Tensor, b: Tensor) -> float:
    """Pearson's correlation; 0 if one of the two is constant."""
    return torch.corrcoef(torch.stack([a, b]).double())[0, 1].nan_to_num().item()
