"""pix2pix: Isola, Zhu, Zhou, Efros 2017, "Image-to-Image Translation with Conditional Adversarial Networks".

The generator is a U-Net: an encoder that halves the side down to one pixel, a decoder that doubles it again, and a
skip that joins each pair of layers of equal side (section 3.2.1). The discriminator sees input and output together and
scores overlapping patches (section 3.2.2). There is no latent: the only noise is dropout in the decoder (section 3.1).
"""

from itertools import pairwise
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

import zoo

Norm = Literal["instance-affine", "instance", "batch"]


class Pix2Pix(nn.Module):
    """The published part: the generator G.

    By default its norms are instance norms with learnt gains and biases, without running statistics. The paper has
    batch norm with the statistics of the batch in use, and tests with batch size 1 (section 3.3). That is the same for
    one image, but here no result depends on the other images of a batch.
    """

    class Config(zoo.Config):
        image_size: Literal[16, 32, 64, 128, 256] = 256
        """Side of the images. Encoder and decoder have log2 of it layers, so the innermost feature map is one pixel."""
        in_channels: Annotated[int, Field(ge=1, le=16)] = 3
        out_channels: Annotated[int, Field(ge=1, le=16)] = 3
        width: zoo.Width = 64
        """Feature maps of the layer next to the image. Each layer further inside has twice as many, up to 8 times."""
        norm: Norm = "instance-affine"
        """Instance norms with learnt gains and biases; or without them; or batch norms that use running statistics,
        for weights that were trained so elsewhere."""
        biases: bool = False
        """Whether all convolutions have biases. If not, only the last one has them."""
        dropped: Annotated[tuple[Annotated[int, Field(ge=0, le=7)], ...], Field(max_length=8)] = (0, 1, 2)
        """Decoder blocks with dropout, counted from the innermost one, 0. The default is that of the authors' code."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        widths = [config.width * min(2**i, 8) for i in range(config.image_size.bit_length() - 1)]
        # The first layer has no norm, nor has the innermost one: a norm of its single pixel would leave only the bias.
        encoder = [nn.Sequential(down(config.in_channels, widths[0], config.biases))]
        for narrow, wide in pairwise(widths[:-1]):
            convolution = down(narrow, wide, config.biases)
            encoder.append(nn.Sequential(nn.LeakyReLU(0.2), convolution, norm(wide, config.norm)))
        encoder.append(nn.Sequential(nn.LeakyReLU(0.2), down(widths[-2], widths[-1], config.biases)))
        decoder: list[nn.Sequential] = []
        for wide, narrow in pairwise(reversed(widths)):
            # All but the innermost one are given the skip too.
            convolution = up(2 * wide if decoder else wide, narrow, config.biases)
            decoder.append(nn.Sequential(nn.ReLU(), convolution, norm(narrow, config.norm)))
        decoder.append(nn.Sequential(nn.ReLU(), up(2 * widths[0], config.out_channels, bias=True), nn.Tanh()))
        self.encoder, self.decoder = nn.ModuleList(encoder), nn.ModuleList(decoder)
        self.apply(zoo.normal_weights)

    def forward(self, x: Tensor, noise: zoo.AnyNoise | None = None) -> Tensor:
        """G(x, z): (n, in_channels, h, w) in [-1, 1] -> (n, out_channels, h, w) in [-1, 1].

        z are the dropout masks. They are drawn from `noise` in training and in use; without it nothing is dropped. h
        and w are multiples of `image_size`: the net is convolutional, and takes larger images too.
        """
        skips = []
        for layer in self.encoder:
            x = layer(x)
            skips.append(x)
        skips.pop()
        for number, layer in enumerate(self.decoder):
            x = layer(x)
            if noise is not None and number in self.config.dropped:
                x = dropout(x, noise)
            if skips:
                x = torch.cat([x, skips.pop()], dim=1)
        return x

    def translate(self, x: Tensor, noise: zoo.Noise | None = None) -> Tensor:
        """Images (n, c, h, w) in [0, 1] from one domain to the other.

        With noise, dropout is on, as in the paper (section 3.3). The handle gives noise for every seed, by default 0.
        Without noise (`seed=None`), dropout is off and the result depends on x alone.
        """
        return (self(2 * x - 1, noise) + 1) / 2


class PatchDiscriminator(nn.Module):
    """D: images x and y (n, c, h, w) in [-1, 1] -> a map (n, 1, h', w') of logits, one per patch, for training only.

    layers: how many of them halve the side. Patches are 16, 34, 70, 142, 286 pixels wide for 1 ... 5, and single pixels
    for 0 (section 4.4). Its norms are the paper's batch norms, since it sees only training batches.
    """

    def __init__(self, in_channels: int, out_channels: int, width: int = 64, layers: int = 3) -> None:
        super().__init__()
        kernel, padding = (4, 1) if layers else (1, 0)
        strides = [2] * layers + [1] if layers else [1, 1]
        widths = [width * min(2**i, 8) for i in range(len(strides))]
        channels = in_channels + out_channels
        blocks: list[nn.Module] = [nn.Conv2d(channels, width, kernel, strides[0], padding), nn.LeakyReLU(0.2)]
        for narrow, wide, stride in zip(widths[:-1], widths[1:], strides[1:], strict=True):
            blocks += [
                nn.Conv2d(narrow, wide, kernel, stride, padding, bias=False),
                nn.BatchNorm2d(wide),
                nn.LeakyReLU(0.2),
            ]
        self.layers = nn.Sequential(*blocks, nn.Conv2d(widths[-1], 1, kernel, 1, padding))
        self.apply(zoo.normal_weights)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.layers(torch.cat([x, y], dim=1))


def down(inputs: int, outputs: int, bias: bool = False) -> nn.Module:
    """Halves the side. By default it has no bias: a norm would cancel it, and the authors' code keeps the others at
    0."""
    return nn.Conv2d(inputs, outputs, 4, 2, 1, bias=bias)


def up(inputs: int, outputs: int, bias: bool = False) -> nn.Module:
    """Doubles the side exactly."""
    return nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=bias)


def norm(width: int, kind: Norm) -> nn.Module:
    return nn.BatchNorm2d(width) if kind == "batch" else nn.InstanceNorm2d(width, affine=kind == "instance-affine")


def dropout(x: Tensor, noise: zoo.AnyNoise) -> Tensor:
    """Keep half of the features and double them (inverted scaling). `noise` draws a mask for each image."""
    return x * (noise.uniform(*x.shape[1:]) < 0.5) * 2
