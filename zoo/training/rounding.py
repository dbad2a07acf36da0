"""Stores weights in half precision if the results stay nearly the same."""

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
"""How far results with the stored weights may be from those in full precision: one level of a pixel."""
COMPARED = 16
"""Number of images or samples that are compared."""


def as_stored(
    module: nn.Module,
    handle: Callable[[nn.Module], Model],
    dtype: str,
    images: Tensor,
    shown: Sequence[Mapping[str, Any]] = (),
) -> tuple[nn.Module, str]:
    """The module as it is after loading from its card, and its number format: `dtype`, or float32 if results differ.

    Models that make no samples are compared on the first of the images (n, c, h, w), uint8.
    """
    if dtype == "float32":
        return module, dtype
    stored = rounded(module, dtype)
    one, other = handle(module), handle(stored)
    finite = all(bool(value.isfinite().all()) for value in stored.state_dict().values())
    far = disagreement(one, other, images[:COMPARED], shown) if finite else math.inf
    if far <= AGREEMENT:
        return stored, dtype
    warnings.warn(
        f"the weights of {one.name} are stored as float32, not as {dtype}: with {dtype} its results differ by up to "
        f"{far:.2g}, and at most {AGREEMENT:.2g} is allowed",
        stacklevel=2,
    )
    return module, "float32"


def rounded(module: nn.Module, dtype: str) -> nn.Module:
    """A copy of the module whose weights are rounded to a number format, like those of a card."""
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
    """The largest difference between the results of two models, as a share of the range of a pixel or a probability.

    If the models sample, these are as many samples of seed 0 as there are images. Else these are the translations of
    the images (uint8) under each condition shown, or else what `infer` gives. 0 for models without all of these.

    PixelCNN and its like draw pixel after pixel from discrete levels. The smallest change can turn one draw, and then
    all pixels after it. For such samples the result is the share of the pixels that differ.
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
    """Whether every value is one of the 256 levels of a pixel. That is never so for means that a network computes."""
    levels = 255 * images
    return bool(((levels - levels.round()).abs() < 1e-3).all())
