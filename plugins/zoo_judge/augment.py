"""Augmentation of training images, so that a classifier with few images does not learn them by heart."""

import torch
import torch.nn.functional as F
from torch import Tensor

WINDOW = 0.75
"""The smallest side of a window, as a share of the side of the image."""
LIGHT = 0.2
"""How much brightness and contrast may change, as a share."""


def vary(x: Tensor) -> Tensor:
    """Images (n, c, h, w) in [0, 1]: a random window of each, with random brightness and contrast, still in [0, 1].

    The side of a window is 3/4 to all of the image's (Szegedy et al. 2015, section 6, have smaller ones too). It is
    enlarged to the size of the image. It may reach over the border by a tenth, where the image is mirrored.
    """
    n = len(x)
    side = _uniform(n, WINDOW, 1.0, x)
    right, down = ((1.1 - side) * _uniform(n, -1.0, 1.0, x) for _ in range(2))
    none = torch.zeros_like(side)
    windows = torch.stack([torch.stack([side, none, right], 1), torch.stack([none, side, down], 1)], 1)
    grid = F.affine_grid(windows, list(x.shape), align_corners=False)
    x = F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)
    contrast, brightness = (_uniform(n, 1 - LIGHT, 1 + LIGHT, x)[:, None, None, None] for _ in range(2))
    mean = x.mean((1, 2, 3), keepdim=True)
    return (((x - mean) * contrast + mean) * brightness).clamp(0, 1)


def mix(x: Tensor, y: Tensor, alpha: float, classes: int) -> tuple[Tensor, Tensor]:
    """mixup (Zhang et al. 2018, equation 1): blend each image and its label with another one, by a draw from
    Beta(alpha, alpha). y: classes (n,) or attributes (n, names). Returns the images, and probabilities (n, names)."""
    y = F.one_hot(y, classes).to(x.dtype) if y.ndim == 1 else y
    share = torch.distributions.Beta(alpha, alpha).sample((len(x),)).to(x)
    other = torch.randperm(len(x), device=x.device)
    return torch.lerp(x[other], x, share[:, None, None, None]), torch.lerp(y[other], y, share[:, None])


def _uniform(n: int, low: float, high: float, like: Tensor) -> Tensor:
    return torch.empty(n, dtype=like.dtype, device=like.device).uniform_(low, high)
