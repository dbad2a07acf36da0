"""CycleGAN: Zhu, Park, Isola, Efros 2017, "Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial
Networks".

Two generators, G: X -> Y and F: Y -> X, learn from two sets of images of which no two belong together. Each is a
residual net between two strided convolutions and two transposed ones (section 4 and appendix 7.2, after Johnson et al.
2016). The discriminators score overlapping patches of one image, real or translated.
"""

from itertools import pairwise
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

import zoo

Norm = Literal["instance", "instance-affine", "batch"]


class CycleGAN(nn.Module):
    """The published part: both generators, since each direction is of use."""

    class Config(zoo.Config):
        image_size: Annotated[int, Field(ge=8, le=512, multiple_of=4)] = 256
        """Side of the training images. The nets are convolutional and take any side that is a multiple of 4."""
        channels: zoo.Channels = 3
        width: zoo.Width = 64
        """Feature maps of the layers next to the image. The next two have twice and four times as many."""
        blocks: Annotated[int, Field(ge=1, le=16)] = 9
        """Residual blocks: 9 in the paper, 6 for images of 128 pixels or less."""
        upsampling: Literal["transposed", "nearest"] = "transposed"
        """Transposed convolutions as in the paper; or `nearest`, which repeats pixels, then convolves, and makes no
        checkerboard patterns."""
        norm: Norm = "instance"
        """Instance norms without weights as in the paper; or with learnt gains and biases; or batch norms that use
        running statistics. The last two are for weights that were trained so elsewhere."""
        biases: bool = False
        """Whether all convolutions have biases. If not, only the last one has them."""
        directions: Literal["both", "forward"] = "both"
        """`forward` is for weights of G alone, trained elsewhere: there is no F, and no condition `to`."""
        domains: tuple[
            Annotated[str, Field(pattern=r"^\w{1,32}$")],
            Annotated[str, Field(pattern=r"^\w{1,32}$")],
        ] = ("first", "second")
        """Names of X and Y. The condition `to` takes them."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.G = Generator(config)
        self.F = Generator(config) if config.directions == "both" else None
        self.conditions = {"to": zoo.Categorical(config.domains)} if self.F is not None else {}

    def translate(self, x: Tensor, noise: zoo.AnyNoise | None = None, *, to: Tensor | None = None) -> Tensor:
        """Translate images (n, c, h, w) in [0, 1] into the domain `to`, (n,) of 0 = X and 1 = Y; without it, into Y.

        Nothing is random: `noise` is not used.
        """
        x = 2 * x - 1
        if self.F is None:
            return (self.G(x) + 1) / 2
        to = torch.ones(len(x), dtype=torch.int64, device=x.device) if to is None else to
        if torch.compiler.is_exporting():  # how many rows a net gets would depend on values, which no graph can say
            return (torch.where(to[:, None, None, None] == 1, self.G(x), self.F(x)) + 1) / 2
        y = torch.empty_like(x)
        for domain, net in enumerate((self.F, self.G)):
            rows = (to == domain).nonzero().squeeze(1)
            if len(rows):
                y[rows] = net(x[rows]).to(y.dtype)
        return (y + 1) / 2


class Generator(nn.Module):
    """(n, c, h, w) in [-1, 1] -> (n, c, h, w) in (-1, 1). Padding reflects the image in the residual blocks and the 7x7
    layers."""

    def __init__(self, config: CycleGAN.Config) -> None:
        super().__init__()
        w, c = config.width, config.channels
        kind, bias = config.norm, config.biases
        layers: list[nn.Module] = [nn.ReflectionPad2d(3), convolution(c, w, 7, bias=bias), norm(w, kind), nn.ReLU()]
        for narrow, wide in pairwise((w, 2 * w, 4 * w)):
            layers += [convolution(narrow, wide, 3, stride=2, padding=1, bias=bias), norm(wide, kind), nn.ReLU()]
        layers += [Residual(4 * w, kind, bias) for _ in range(config.blocks)]
        for wide, narrow in pairwise((4 * w, 2 * w, w)):
            layers += [upsample(wide, narrow, config.upsampling, bias), norm(narrow, kind), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.ReflectionPad2d(3), nn.Conv2d(w, c, 7), nn.Tanh())
        self.apply(zoo.normal_weights)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Residual(nn.Module):
    """x + f(x) with two 3x3 convolutions in f, and nothing after the sum."""

    def __init__(self, width: int, kind: Norm = "instance", bias: bool = False) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.ReflectionPad2d(1),
            convolution(width, width, 3, bias=bias),
            norm(width, kind),
            nn.ReLU(),
            nn.ReflectionPad2d(1),
            convolution(width, width, 3, bias=bias),
            norm(width, kind),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class PatchDiscriminator(nn.Module):
    """D: images (n, c, h, w) in [-1, 1] -> a map (n, 1, h', w') of scores, one per patch, for training only.

    layers: how many of them halve the side. Patches are 16, 34, 70 pixels wide for 1, 2, 3. There is no sigmoid: the
    least squares of section 4 pull the scores to 1 for real patches and to 0 for fake ones.
    """

    def __init__(self, channels: int, width: int = 64, layers: int = 3) -> None:
        super().__init__()
        widths = [width * min(2**i, 8) for i in range(layers + 1)]
        strides = [2] * (layers - 1) + [1]
        blocks: list[nn.Module] = [nn.Conv2d(channels, width, 4, 2, 1), nn.LeakyReLU(0.2)]
        for narrow, wide, stride in zip(widths[:-1], widths[1:], strides, strict=True):
            blocks += [convolution(narrow, wide, 4, stride=stride, padding=1), norm(wide), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*blocks, nn.Conv2d(widths[-1], 1, 4, 1, 1))
        self.apply(zoo.normal_weights)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def convolution(
    inputs: int, outputs: int, kernel: int, *, stride: int = 1, padding: int = 0, bias: bool = False
) -> nn.Module:
    """A convolution, by default without a bias, since the norm after it would cancel that."""
    return nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=bias)


def upsample(inputs: int, outputs: int, how: str, bias: bool = False) -> nn.Module:
    """Doubles the side exactly."""
    if how == "nearest":
        return nn.Sequential(nn.Upsample(scale_factor=2), convolution(inputs, outputs, 3, padding=1, bias=bias))
    return nn.ConvTranspose2d(inputs, outputs, 3, 2, 1, output_padding=1, bias=bias)


def norm(width: int, kind: Norm = "instance") -> nn.Module:
    """By default it gives each feature map of each image mean 0 and variance 1, in training and in use."""
    return nn.BatchNorm2d(width) if kind == "batch" else nn.InstanceNorm2d(width, affine=kind == "instance-affine")
