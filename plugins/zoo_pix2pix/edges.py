"""The input filter of pix2pix-edges2celeba: a photo -> the line drawing that the card was trained on.

It is Canny's detector ("A Computational Approach to Edge Detection", 1986): smooth, differentiate, thin the gradient
to its ridges, keep those that are strong and the weak ones that continue them. The lines are black on white without
greys, so that no shading, and so no colour, can be read off a drawing. Everything is made of shifts, sums and
comparisons of single pixels, never of reductions whose order may change: an image's drawing is the same to the bit in
any batch and memory layout.
"""

from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)
REACH = 6
"""Contrast is relative to the strongest within so many pixels: a soft mouth keeps its line beside hard hair."""
FLOOR = 0.06
"""Change of luminance per pixel that is full contrast where nothing stronger is near: flat areas stay blank."""
STRONG, WEAK = 0.45, 0.25
"""Shares of full contrast that a line must reach somewhere, and may fade to elsewhere."""
TANGENT = 2**0.5 - 1
"""Of 22.5 degrees, between an axis and a diagonal."""


def edges(x: Tensor) -> Tensor:
    """Photos (n, 3, h, w) in [0, 1] -> drawings (n, 3, h, w): lines 0, paper 1, three equal channels."""
    down, across = gradient(smooth(luminance(x)))
    strength = (down * down + across * across).sqrt()
    contrast = strength / local_maximum(strength).clamp_min(FLOOR)
    ridge = ridges(strength, down, across)
    lines = follow(ridge & (contrast >= STRONG), ridge & (contrast >= WEAK))
    return (~lines).to(x.dtype).repeat(1, 3, 1, 1)


def luminance(x: Tensor) -> Tensor:
    red, green, blue = (weight * x[:, i : i + 1] for i, weight in enumerate(LUMA))
    return red + green + blue


def smooth(x: Tensor) -> Tensor:
    """The binomial filter 1 4 6 4 1, a Gaussian of one pixel, both ways."""
    for dim in (2, 3):
        a, b, c, d, e = shifts(x, dim, 2)
        x = (a + e + 4 * (b + d) + 6 * c) / 16
    return x


def gradient(x: Tensor) -> tuple[Tensor, Tensor]:
    """Sobel's derivatives per pixel, down and across."""

    def along(dim: int, other: int) -> Tensor:
        before, _, after = shifts(x, dim, 1)
        a, b, c = shifts(after - before, other, 1)
        return (a + 2 * b + c) / 8

    return along(2, 3), along(3, 2)


def local_maximum(x: Tensor) -> Tensor:
    for dim in (2, 3):
        x = reduce(torch.maximum, shifts(x, dim, REACH))
    return x


def ridges(strength: Tensor, down: Tensor, across: Tensor) -> Tensor:
    """Where the gradient is larger than one pixel further along its own direction, to the nearest of four.

    Of two equal neighbours one counts, so that an ideal step is one pixel thin.
    """
    height, width = strength.shape[2:]
    padded = F.pad(strength, (1, 1, 1, 1))

    def peak(i: int, j: int) -> Tensor:
        """Larger than the neighbours i rows down and j columns right, and as far the other way."""
        ahead, behind = (padded[:, :, 1 + s * i :, 1 + s * j :][:, :, :height, :width] for s in (1, -1))
        return (strength > ahead) & (strength >= behind)

    vertical = across.abs() <= TANGENT * down.abs()
    horizontal = down.abs() < TANGENT * across.abs()
    diagonal = torch.where(down * across > 0, peak(1, 1), peak(1, -1))
    return torch.where(vertical, peak(1, 0), torch.where(horizontal, peak(0, 1), diagonal))


def follow(strong: Tensor, weak: Tensor) -> Tensor:
    """The strong pixels and all weak ones that a chain of weak neighbours ties to them."""
    while True:
        grown = strong
        for dim in (2, 3):
            grown = reduce(torch.logical_or, shifts(grown, dim, 1))
        grown = grown & weak
        if torch.equal(grown, strong):
            return strong
        strong = grown


def shifts(x: Tensor, dim: int, reach: int) -> list[Tensor]:
    """x moved by -reach ... reach pixels along a dimension; beyond the border its last pixel goes on."""
    size = x.shape[dim]
    first, last = x.narrow(dim, 0, 1), x.narrow(dim, size - 1, 1)
    wide = torch.cat([first] * reach + [x] + [last] * reach, dim)
    return [wide.narrow(dim, i, size) for i in range(2 * reach + 1)]
