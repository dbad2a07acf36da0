"""Measures whether translations have the attribute that was asked for, keep the others, and can be undone."""

import math

import torch
from torch import Tensor

import zoo

MOST = 1000
"""Number of test images that are used. Each is translated once for each attribute, and back."""


def evaluate(bench: zoo.Bench) -> list[zoo.Metric]:
    """The error of the cycle and the accuracy of C; with a scoring classifier of the attributes, what it sees in
    translations.

    One attribute is changed at a time, as in the authors' code. An exclusive attribute is turned on. Any other is set
    to the opposite of the image's label. The model decides about the attributes that are not asked for.
    """
    model, rows = bench.model, bench.some(bench.test, MOST)
    x, labels = bench.images(bench.test)[rows], torch.as_tensor(bench.test.labels)[rows] > 0.5
    asked = {
        name: torch.ones_like(own) if name in model.config.exclusive else ~own
        for name, own in zip(model.config.names, labels.T, strict=True)
    }
    made = {name: model.translate(x, attributes={name: wanted.tolist()}) for name, wanted in asked.items()}
    found = [cycle(bench, x, labels, made), present(bench, x, labels)]
    if bench.judge is None or not set(model.config.names) <= set(bench.judge.config.names):
        return found
    before, after = verdict(bench, x), {name: verdict(bench, images) for name, images in made.items()}
    return [*accuracy(bench, labels, asked, before, after), *kept(bench, before, after), *found]


def verdict(bench: zoo.Bench, images: Tensor | zoo.Images) -> Tensor:
    """(n, k): which of the model's attributes the scoring classifier sees."""
    judge = bench.judge
    assert judge is not None
    columns = [judge.config.names.index(name) for name in bench.model.config.names]
    seen: Tensor = judge.infer(images, batch_size=256)["attributes"][:, columns] > 0.5
    return seen


def accuracy(
    bench: zoo.Bench, labels: Tensor, asked: dict[str, Tensor], before: Tensor, after: dict[str, Tensor]
) -> list[zoo.Metric]:
    """How often the scoring classifier sees an attribute that was asked for and missing: for each one, and the mean."""
    rule = "share of test images that lack what is asked for whose translation has it, to an independent judge"
    singles, parts = [], []
    for i, (name, wanted) in enumerate(asked.items()):
        lacks, owned = wanted != labels[:, i], before[:, i] == labels[:, i]
        if lacks.any():
            hit, already = ((seen[:, i] == wanted)[lacks].float() for seen in (after[name], before))
            ceiling = hit_rate(owned, labels[:, i], wanted[lacks])
            beside = {"ceiling": ceiling, "baseline": f"before translation: {already.mean():.4g}"}
            singles.append(bench.metric(f"attribute_accuracy_{name}", hit, "higher", rule, **beside))
            # How much each image changes the mean of this attribute; 0 if it was not asked for.
            moves = torch.zeros(len(lacks))
            moves[lacks] = (hit - hit.mean()) * len(lacks) / len(hit)
            parts.append(moves)
    if not singles:
        return []
    means = {"n": len(before), "uncertainty": mean_error(torch.stack(parts).mean(0))}
    ceilings = [single.ceiling for single in singles if single.ceiling is not None]
    means |= {"ceiling": sum(ceilings) / len(ceilings)} if ceilings else {}
    mean = sum(single.value for single in singles) / len(singles)
    protocol = f"{rule}; mean of the {len(singles)} attributes, each asked for alone"
    return [bench.metric("attribute_accuracy", mean, "higher", protocol, **means), *singles]


def hit_rate(right: Tensor, label: Tensor, wanted: Tensor) -> float | None:
    """How often the scoring classifier is right on real images that have, or lack, the attribute as `wanted` (m,) says.

    right, label: (n,) for real images. The result is None if no real image is as wanted.
    """
    shares = [right[label == value].float().mean() for value in (False, True)]
    rate = torch.stack(shares)[wanted.long()].mean().item()
    return None if math.isnan(rate) else rate


def mean_error(values: Tensor) -> float:
    """Standard error of the mean of values (n,)."""
    return (values.std() / math.sqrt(len(values))).item()


def kept(bench: zoo.Bench, before: Tensor, after: dict[str, Tensor]) -> list[zoo.Metric]:
    """How often the scoring classifier sees an attribute that was not asked for as it did before the translation."""
    names, exclusive = bench.model.config.names, set(bench.model.config.exclusive)
    shares = []
    for i, name in enumerate(names):
        others = [j for j, other in enumerate(names) if j != i and not {name, other} <= exclusive]
        if others:
            shares.append((after[name] == before)[:, others].float().mean(1))
    if not shares:
        return []
    protocol = (
        "share of attributes neither asked for nor excluded by it of which the judge thinks as before translation"
    )
    return [bench.metric("attributes_kept", torch.stack(shares).mean(0), "higher", protocol)]


def cycle(bench: zoo.Bench, x: Tensor, labels: Tensor, made: dict[str, zoo.Images]) -> zoo.Metric:
    """|x - G(G(x, c), c')|, c' the image's own labels."""
    original = dict(zip(bench.model.config.names, labels.T.tolist(), strict=True))

    def error(images: Tensor | zoo.Images) -> Tensor:
        return (bench.model.translate(images, attributes=original).tensor - x).abs().flatten(1).mean(1)

    protocol = "L1 of pixels in [0, 1] after one attribute was changed and then all set to the image's labels"
    baseline = f"set to its labels at once: {error(x).mean():.4g}"
    errors = torch.stack([error(images) for images in made.values()]).mean(0)
    return bench.metric("cycle_l1", errors, "lower", protocol, baseline=baseline)


def present(bench: zoo.Bench, x: Tensor, labels: Tensor) -> zoo.Metric:
    """How well C knows which attributes an image has. The model decides with C what to keep."""
    right = ((bench.model.infer(x)["attributes"] > 0.5) == labels).float().mean(1)
    usual = torch.maximum(labels.float().mean(0), 1 - labels.float().mean(0)).mean()
    protocol = "share of the attributes of test images that the published classifier gets right, cut at 1/2"
    return bench.metric("present_accuracy", right, "higher", protocol, baseline=f"always the same: {usual:.4g}")
