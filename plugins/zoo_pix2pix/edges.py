"""The input filter of pix2pix-edges2celeba: it turns a photo into a line drawing, as the card was trained on.

It is Canny's detector ("A Computational Approach to Edge Detection", 1986): smooth, differentiate, thin the gradient
to its ridges, keep those that are strong and the weak ones that continue them. The lines are black on white without
greys, so a drawing does not show shading or colour. Everything is made of shifts, sums and comparisons of single
pixels, never of reductions whose order may change. So the drawing of an image has the same bits in any batch and memory
layout.
"""

from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)
REACH = 6
"""Contrast is relative to the strongest one within so many pixels, so a weak line near a strong one is kept."""
FLOOR = 0.06
"""Change of luminance per pixel that counts as full contrast if nothing stronger is near. Flat areas stay empty."""
STRONG, WEAK = 0.45, 0.25
"""Shares of full contrast: the first must be reached somewhere on a line, the second everywhere on it."""
TANGENT = 2**0.5 - 1
"""Tangent of 22.5 degrees, half way between an axis and a diagonal."""


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
    """The binomial filter 1 4 6 4 1, nearly a Gaussian of one pixel, in both directions."""
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
    """True where the gradient is larger than at the next pixels along its own direction, rounded to one of four.

    Of two equal neighbours only one counts, so that a perfect step gives a line of one pixel.
    """
    height, width = strength.shape[2:]
    padded = F.pad(strength, (1, 1, 1, 1))

    def peak(i: int, j: int) -> Tensor:
        """True where x is larger than i rows down and j columns right, and than as far in the other direction."""
        ahead, behind = (padded[:, :, 1 + s * i :, 1 + s * j :][:, :, :height, :width] for s in (1, -1))
        return (strength > ahead) & (strength >= behind)

    vertical = across.abs() <= TANGENT * down.abs()
    horizontal = down.abs() < TANGENT * across.abs()
    diagonal = torch.where(down * across > 0, peak(1, 1), peak(1, -1))
    return torch.where(vertical, peak(1, 0), torch.where(horizontal, peak(0, 1), diagonal))


def follow(strong: Tensor, weak: Tensor) -> Tensor:
    """The strong pixels, and all weak pixels that are connected to them by weak neighbours."""
    while True:
        grown = strong
        for dim in (2, 3):
            grown = reduce(torch.logical_or, shifts(grown, dim, 1))
        grown = grown & weak
        if torch.equal(grown, strong):
            return strong
        strong = grown


def shifts(x: Tensor, dim: int, reach: int) -> list[Tensor]:
    """x moved by -reach ... reach pixels along a dimension. Beyond the border its last pixel is repeated."""
    size = x.shape[dim]
    first, last = x.narrow(dim, 0, 1), x.narrow(dim, size - 1, 1)
    wide = torch.cat([first] * reach + [x] + [last] * reach, dim)
    return [wide.narrow(dim, i, size) for i in range(2 * reach + 1)]
