"""Weights in half precision, where nobody could tell by the results."""

import copy
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from zoo.card.weights import FLOATS
from zoo.devices import kernels
from zoo.model import Model

AGREEMENT = 1 / 255
"""How far results of stored weights may be from those of full precision: one level of a pixel."""
COMPARED = 16
"""Images or samples that tell whether they are."""


def as_stored(
    module: nn.Module,
    handle: Callable[[nn.Module], Model],
    dtype: str,
    images: Tensor,
    shown: Sequence[Mapping[str, Any]] = (),
) -> tuple[nn.Module, str]:
    """The module as a reader of its card will have it, and its number format: `dtype`, or where that shows, float32.

    A translator, or what only reads images, is compared on the first of the images (n, c, h, w), uint8.
    """
    if dtype == "float32":
        return module, dtype
    stored = rounded(module, dtype)
    one, other = handle(module), handle(stored)
    finite = all(bool(value.isfinite().all()) for value in stored.state_dict().values())
    far = disagreement(one, other, images[:COMPARED], shown) if finite else math.inf
    if far <= AGREEMENT:
        return stored, dtype
    warnings.warn(f"{one.name} is stored as float32: as {dtype} its results differ by {far:.2g}", stacklevel=2)
    return module, "float32"


def rounded(module: nn.Module, dtype: str) -> nn.Module:
    """A copy whose weights have been through a number format, as a card's have."""
    copied = copy.deepcopy(module)
    copied.load_state_dict(
        {
            key: value.to(FLOATS[dtype]).to(value.dtype) if value.is_floating_point() else value
            for key, value in module.state_dict().items()
        }
    )
    return copied


@torch.no_grad()
def disagreement(one: Model, other: Model, images: Tensor, shown: Sequence[Mapping[str, Any]] = ()) -> float:
    """How far the results of two models are apart at most, in shares of the range of a pixel, or of a probability.

    Of as many samples at seed 0 as there are images, where there are samples; else of the translations of the images
    (uint8), under each condition shown; else of what is inferred from them; 0 for a model that does none of these.

    Where pixels are drawn one by one from discrete levels, as PixelCNN does, a draw may fall to the other side of any
    threshold, however near, and take all the pixels after it along: there the result is the share of the pixels that
    differ.
    """
    with kernels(exact=True):
        pairs = [*zip(_results(one, images, shown), _results(other, images, shown), strict=True)]
    far = 0.0
    for a, b in pairs:
        gaps = (a - b).abs()
        discrete = "sample" in one.spec.capabilities and _on_levels(a) and _on_levels(b)
        far = max(far, ((gaps > AGREEMENT).float().mean() if discrete else gaps.max()).item())
    return far


def _results(model: Model, images: Tensor, shown: Sequence[Mapping[str, Any]]) -> list[Tensor]:
    if "sample" in model.spec.capabilities:
        return [model.sample(len(images), seed=0).tensor]
    if "translate" in model.spec.capabilities:
        return [model.translate(images, **row).tensor for row in shown or [{}]]
    if "infer" in model.spec.capabilities:
        codes = model.infer(images)
        return [codes[key].float() for key in sorted(codes)] if isinstance(codes, Mapping) else [codes.float()]
    return []


def _on_levels(images: Tensor) -> bool:
    """Whether every value is one of the 256 levels of a pixel, which no computed mean would keep to."""
    levels = 255 * images
    return bool(((levels - levels.round()).abs() < 1e-3).all())
