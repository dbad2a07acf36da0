"""Differentiable augmentation: Zhao et al. 2020, "Differentiable Augmentation for Data-Efficient GAN Training".

All images that the discriminator sees, real or fake, get random distortions of the same kind. So it cannot memorise a
small set of images, and the generator does not learn the distortions. Images are (n, c, h, w) in [-1, 1]. Each image
has its own draws.
"""

from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

Policy = Annotated[str, Field(pattern=r"^((color|translation|cutout)(,(color|translation|cutout))*)?$")]
"""Names of distortions, with commas between them. The type is checked before any data are read."""


def augment(x: Tensor, policy: Policy) -> Tensor:
    """Apply the named distortions in order. The empty policy applies none.

    This is done in float32. Under autocast fakes are bfloat16 and real images are not. With coarser draws for the
    fakes, D could tell them from real images.
    """
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    for name in filter(None, policy.split(",")):
        x = POLICIES[name](x)
    return x


def color(x: Tensor) -> Tensor:
    """Change brightness by -0.5 to 0.5, saturation by a factor 0 to 2, and contrast by a factor 0.5 to 1.5."""
    n = len(x)
    x = x + uniform(x, n, -0.5, 0.5)
    grey = x.mean(1, keepdim=True)
    x = (x - grey) * uniform(x, n, 0.0, 2.0) + grey
    mean = x.mean((1, 2, 3), keepdim=True)
    return (x - mean) * uniform(x, n, 0.5, 1.5) + mean


def translation(x: Tensor, share: float = 1 / 8) -> Tensor:
    """Shift by up to `share` of the side in both directions. New pixels at the border are 0."""
    n, _, h, w = x.shape
    reach = round(h * share)
    padded = F.pad(x, [reach] * 4)
    down, right = (torch.randint(2 * reach + 1, (n, 1, 1), device=x.device) for _ in range(2))
    rows = torch.arange(h, device=x.device).view(1, h, 1) + down
    columns = torch.arange(w, device=x.device).view(1, 1, w) + right
    image = torch.arange(n, device=x.device).view(n, 1, 1)
    return padded.permute(0, 2, 3, 1)[image, rows, columns].permute(0, 3, 1, 2)


def cutout(x: Tensor, share: float = 1 / 2) -> Tensor:
    """Set a square to 0 whose side is `share` of the image's. It may be anywhere, even half outside."""
    n, _, h, w = x.shape
    side = round(h * share)
    top = torch.randint(h + 1 - side % 2, (n, 1, 1), device=x.device) - side // 2
    left = torch.randint(w + 1 - side % 2, (n, 1, 1), device=x.device) - side // 2
    rows, columns = torch.arange(h, device=x.device).view(1, h, 1), torch.arange(w, device=x.device).view(1, 1, w)
    hole = (rows >= top) & (rows < top + side) & (columns >= left) & (columns < left + side)
    return x * ~hole[:, None]


def uniform(x: Tensor, n: int, low: float, high: float) -> Tensor:
    return torch.empty(n, 1, 1, 1, dtype=x.dtype, device=x.device).uniform_(low, high)


POLICIES = {"color": color, "translation": translation, "cutout": cutout}
