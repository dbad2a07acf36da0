"""Inputs that fit a model's methods, the same at every call: a graph is traced with them, and compared on them."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from zoo.family.conditions import Categorical, Condition, Continuous, declared
from zoo.family.spec import Preparation
from zoo.noise import Noise

SMOOTH = 8
"""Side of the noise that is enlarged to an image, so that the image has areas and not only pixels."""


@torch.no_grad()
def arguments(module: Any, method: str, preparation: Preparation, n: int) -> list[Tensor]:
    """The tensors that are a method's first arguments, for n rows."""
    if method == "sample":
        return []
    x = images(preparation, n)
    if method == "decode":
        return [module.latents(Noise(2, 0, n)) if callable(getattr(module, "latents", None)) else module.encode(x)]
    if method == "complete":
        kept = torch.arange(preparation.size)[:, None].expand(n, 1, -1, preparation.size) < preparation.size // 2
        return [x, kept]
    if method == "step":
        return [x, torch.tensor(module.steps // 2)]
    return [x]


def images(preparation: Preparation, n: int) -> Tensor:
    """(n, c, h, w) in [0, 1]: smooth noise, cut at 1/2 for a model of binary images."""
    p = preparation
    x = interpolate(Noise(1, 0, n).uniform(p.channels, SMOOTH, SMOOTH), (p.size, p.size), mode="bilinear")
    return (x > 0.5).float() if p.binarize else x


def conditions(module: Any, taken: "set[str]", n: int) -> dict[str, Tensor]:
    """A value for each condition that a method takes, other ones in other rows."""
    return {key: _values(kind, n) for key, kind in declared(module).items() if key in taken}


def _values(kind: Condition, n: int) -> Tensor:
    rows = torch.arange(n)
    if isinstance(kind, Categorical):
        return rows % len(kind.names)
    if isinstance(kind, Continuous):
        share = torch.linspace(0.1, 0.9, n * kind.size).view(n, kind.size)
        return kind.low + (kind.high - kind.low) * share
    states = torch.tensor([0.0, 1.0, float("nan")])
    return states[(rows[:, None] + torch.arange(len(kind.names))) % 3]
