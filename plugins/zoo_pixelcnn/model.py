"""PixelCNN: van den Oord, Kalchbrenner, Kavukcuoglu 2016, "Pixel Recurrent Neural Networks", section 3.5.

p(x) is the product over the pixels, row by row, of p(x_i | x_1 ... x_{i-1}), and inside a pixel red comes before green
before blue (section 2.1). Each factor is a softmax over the levels of a channel (section 2.2). Masked convolutions give
all the factors of an image at once (section 3.4), so a likelihood is one pass; sampling is in `sampler.py`.
"""

import math
from collections.abc import Iterable
from typing import Annotated, Literal, cast

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

import zoo
from zoo_pixelcnn.sampler import Layer, Network, draw, quantile


class PixelCNN(nn.Module):
    """A 7x7 layer with mask A, residual blocks with mask B, and a head of two 1x1 layers (table 1)."""

    class Config(zoo.Config):
        image_size: Annotated[int, Field(ge=2, le=128)] = 28
        channels: Literal[1, 3] = 1
        n_levels: Literal[2, 4, 16, 256] = 2
        """Number of levels of a channel: 2 for binary images, 256 for 8-bit ones. Images are rounded to the levels."""
        width: zoo.Width = 16
        """h: feature maps inside a residual block. Between the blocks there are 2h."""
        blocks: Annotated[int, Field(ge=1, le=32)] = 15
        head: Annotated[int, Field(ge=1, le=2048)] = 32
        """Feature maps between the two layers of the head."""
        position: bool = False
        """Add a learned bias for each position to the first layer's features. The paper does not have it. Without it,
        the net knows the border only from the padding above and on both sides, and cannot recognise the last row."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        c, h = config.channels, config.width
        if min(h, config.head) < c:
            raise ValueError(f"width and head must be at least {c}: each channel needs features of its own")
        self.first = MaskedConv2d("A", c, 2 * h, 7, c)
        side = config.image_size
        self.position = nn.Parameter(torch.zeros(2 * h, side, side)) if config.position else None
        # With this scale the sum over the blocks is as large as one block at the start, for any number of blocks.
        self.blocks = nn.ModuleList(Residual(h, c, config.blocks**-0.5) for _ in range(config.blocks))
        self.head = nn.ModuleList(
            (MaskedConv2d("B", 2 * h, config.head, 1, c), MaskedConv2d("B", config.head, c * config.n_levels, 1, c))
        )

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, c, levels, h, w) of every channel given those before it, for images (n, c, h, w) in [0, 1]."""
        x = self.first(2 * x - 1)
        if self.position is not None:
            x = x + self.position
        for block in self.blocks:
            x = block(x)
        for layer in self.head:
            x = layer(F.relu(x))
        return x.unflatten(1, (self.config.channels, self.config.n_levels))

    def log_prob(self, x: Tensor) -> Tensor:
        """Exact log p(x), (n,) nats, of images (n, c, h, w) in [0, 1], rounded to the model's levels."""
        levels = self.levels(x)
        logits = self(self.values(levels)).float()
        return -F.cross_entropy(logits.transpose(1, 2), levels, reduction="none").flatten(1).sum(1)

    def sample(self, noise: zoo.AnyNoise) -> Tensor:
        """Images (n, c, h, w) in [0, 1], drawn one pixel after the other."""
        return self.values(draw(self.network(), self.uniforms(noise)))

    def complete(self, x: Tensor, mask: Tensor, noise: zoo.AnyNoise) -> Tensor:
        """x (n, c, h, w) where mask (n, 1, h, w) is true; the other pixels are drawn in raster order, given all before.

        This is the conditional distribution exactly when the given pixels come first in raster order, the upper rows
        for example (figure 1). Otherwise a pixel is drawn without regard to given pixels that come after it.
        """
        mask = mask.bool()
        drawn = draw(self.network(), self.uniforms(noise), self.levels(x), mask)
        return torch.where(mask, x, self.values(drawn))

    @property
    def steps(self) -> int:
        """Number of steps of `sample`: one for each channel of each pixel."""
        return self.config.channels * self.config.image_size**2

    def step(self, x: Tensor, place: Tensor, noise: zoo.AnyNoise) -> Tensor:
        """The images x (n, c, h, w) with one more channel of one pixel drawn: number `place`, a tensor without
        dimensions. They are counted in raster order, and in each pixel red, green, blue.

        All steps from 0 to steps - 1 with the same noise make `sample` out of zeros, or `complete` out of given pixels
        if theirs are left out. A step is a pass over the whole image, so `sample` does not use it; a runtime that
        knows only fixed graphs can.
        """
        place = place.view(1)
        logits = self(x).permute(0, 3, 4, 1, 2).flatten(1, 3).index_select(1, place).squeeze(1)
        u = self.uniforms(noise).permute(0, 2, 3, 1).flatten(1).index_select(1, place)
        pixels = x.permute(0, 2, 3, 1)
        here = torch.arange(self.steps, device=x.device) == place
        drawn = torch.where(here, self.values(quantile(logits, u))[:, None], pixels.flatten(1))
        return drawn.unflatten(1, pixels.shape[1:]).permute(0, 3, 1, 2)

    @torch.no_grad()
    def network(self) -> Network:
        """The present weights, in the form that the sampler needs."""
        side, levels = self.config.image_size, torch.arange(self.config.n_levels, device=self.first.bias.device)
        bias = self.first.bias[:, None, None].expand(-1, side, side)
        head, out = cast(Iterable[MaskedConv2d], self.head)
        return Network(
            first=self.first.kernel(),
            bias=bias if self.position is None else bias + self.position,
            blocks=[block.layers() for block in cast(Iterable[Residual], self.blocks)],
            head=(head.layer(), out.layer()),
            inputs=2 * self.values(levels) - 1,
        )

    def uniforms(self, noise: zoo.AnyNoise) -> Tensor:
        """(n, c, h, w): the random number that decides each channel of each pixel."""
        c, side = self.config.channels, self.config.image_size
        return noise.uniform(c, side, side)

    def levels(self, x: Tensor) -> Tensor:
        """Targets: values in [0, 1] -> integers 0 ... n_levels - 1."""
        return (x * (self.config.n_levels - 1)).round().long()

    def values(self, levels: Tensor) -> Tensor:
        """Inputs: integers 0 ... n_levels - 1 -> values in [0, 1]."""
        return levels / (self.config.n_levels - 1)


class Residual(nn.Module):
    """1x1 from 2h to h, 3x3 with mask B, 1x1 back to 2h, a ReLU before each; added to its input (figure 5, left)."""

    def __init__(self, h: int, channels: int, scale: float) -> None:
        super().__init__()
        self.down = MaskedConv2d("B", 2 * h, h, 1, channels)
        self.middle = MaskedConv2d("B", h, h, 3, channels)
        self.up = MaskedConv2d("B", h, 2 * h, 1, channels, scale)

    def forward(self, x: Tensor) -> Tensor:
        a = F.relu(self.down(F.relu(x)), inplace=True)
        return x + self.up(F.relu(self.middle(a)))

    def layers(self) -> tuple[Layer, Layer, Layer]:
        """For the sampler."""
        return self.down.layer(), self.middle.layer(), self.up.layer()


class MaskedConv2d(nn.Module):
    """A k x k convolution that sees the pixels before the present one, and some of its channels (section 3.4).

    The feature maps are shared out equally among the channels of the image, in order. At the centre, mask A lets a
    channel see those before it, and mask B lets it see itself too. All rows below the centre would be masked, so the
    kernel does not have them: weight is (outputs, inputs, k // 2 + 1, k). The mask multiplies it in every pass, so no
    training step can undo it.
    """

    mask: Tensor

    def __init__(
        self, kind: Literal["A", "B"], inputs: int, outputs: int, k: int, channels: int, scale: float = 1.0
    ) -> None:
        super().__init__()
        self.reach = k // 2
        self.weight = nn.Parameter(torch.empty(outputs, inputs, self.reach + 1, k))
        self.bias = nn.Parameter(torch.empty(outputs))
        self.register_buffer("mask", torch.tensor(mask(kind, inputs, outputs, k, channels)), persistent=False)
        bound = scale * math.sqrt(6 / (inputs * (self.reach * k + self.reach + 1)))  # He et al. 2015, of what is seen
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        # The padding below is as large as above, so there are `reach` rows too many at the end.
        y = F.conv2d(x, self.kernel(), self.bias, padding=self.reach)
        return y[:, :, : x.shape[2]] if self.reach else y

    def kernel(self) -> Tensor:
        """The masked weight."""
        return self.weight * self.mask

    def layer(self) -> Layer:
        """For the sampler."""
        return Layer(self.kernel(), self.bias)


def mask(kind: str, inputs: int, outputs: int, k: int, channels: int) -> list[list[list[list[float]]]]:
    """1 where a weight may be other than 0: (outputs, inputs, k // 2 + 1, k)."""

    def centre(i: int, o: int) -> float:
        source, target = group(i, inputs, channels), group(o, outputs, channels)
        return float(source < target or (kind == "B" and source == target))

    above, left = [[1.0] * k] * (k // 2), [1.0] * (k // 2)
    return [[[*above, [*left, centre(i, o), *[0.0] * (k // 2)]] for i in range(inputs)] for o in range(outputs)]


def group(i: int, maps: int, channels: int) -> int:
    """The channel of the image to which feature map i of `maps` belongs."""
    return i * channels // maps
